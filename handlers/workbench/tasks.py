"""Tasks on the workbench: baseline and candidate answer the same items, and their scores are paired."""

from executors import texts, toolchain
from executors.measure.tasks import TOOLCHAIN, Bookshelf, Task, TaskScores, answering, compare, evaluate
from handlers.workbench.bench import Bench, Stage
from handlers.workbench.weights import Base, Weights
from handlers.workshop import Workshop
from schemas.measurement import ServedModel, TaskComparison
from schemas.plan import StepKind


def tasks_called(names: tuple[str, ...], workshop: Workshop) -> tuple[Task, ...]:
    """The tasks of these names, with their items at hand and the harness installed.

    Raises:
        AgentError: `unsupported`, with the names there are; `toolchain_missing`.
    """
    if not names:
        return ()
    text = texts.find(workshop.cache, calibration=workshop.calibration_text, evaluation=workshop.evaluation_text)
    found = Bookshelf(text.evaluation, workshop.cache, workshop.task_data).tasks(names)
    toolchain.find(TOOLCHAIN, workshop.cache)
    return found


async def tested(
    bench: Bench, base: Base, candidate: Weights | ServedModel, names: tuple[str, ...], stage: Stage
) -> tuple[TaskComparison, ...]:
    """What baseline and candidate score on the tasks called `names`."""
    tasks = tasks_called(names, bench.workshop)
    if not tasks:
        return ()
    own = await _scores(bench, base, tasks, "baseline", stage)
    return compare(tasks, own, await _scores(bench, candidate, tasks, "candidate", stage))


async def _scores(
    bench: Bench, model: Base | Weights | ServedModel, tasks: tuple[Task, ...], role: str, stage: Stage
) -> TaskScores:
    """The scores of one model; the baseline's folder is loaded by the harness itself, all else answers as served."""
    harness, items = toolchain.find(TOOLCHAIN, bench.workshop.cache), bench.workshop.effort.task_items
    name = f"tasks-{role}"

    async def run() -> TaskScores:
        async with bench.tool(StepKind.VALIDATION, stage, name, harness) as tool:
            if isinstance(model, ServedModel):
                return await evaluate(model, tasks, items, tool)
            if isinstance(model, Base) and model.path.is_dir():
                return await evaluate(model.path, tasks, items, tool)
            async with (
                bench.tool(StepKind.VALIDATION, stage, f"serve-{name}", model.tools) as engine,
                answering(model.path, model.engine, engine) as served,
            ):
                return await evaluate(served, tasks, items, tool)

    await bench.say(StepKind.VALIDATION, stage, f"running {', '.join(task.name for task in tasks)}")
    return await bench.step(name, TaskScores, run)
