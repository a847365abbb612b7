"""Load on the workbench: weights and a strategy in, a served model under the plan's traffic, and what came out."""

from pathlib import Path

from executors.measure.load import measure
from executors.serve import llamacpp
from executors.serve.engine import Endpoint
from handlers.workbench.bench import Bench, Stage
from handlers.workbench.shapes import Load, usual
from schemas.error import AgentError, ErrorCode
from schemas.measurement import LoadLevel, LoadReport
from schemas.plan import PlannedWorkload, StepKind, Strategy

PROMPTS = 32
CHARACTERS_PER_TOKEN = 12
"""More than English text has, so that the prompts never run short."""


async def load_test(
    bench: Bench, strategy: Strategy, weights: Path, *, workload: PlannedWorkload, phase: StepKind, stage: Stage
) -> LoadReport:
    """Serve `weights` as `strategy` says and put the plan's load on it; an update after every level.

    The step and its files are named after the phase for the baseline, else after the strategy.
    """
    served = f"{weights.stem}-{strategy.threads}t-{strategy.max_sequences}s-{strategy.batched_tokens}b"
    name = phase.value if phase is StepKind.BASELINE else served
    load = Load(usual(bench.workshop.effort, strategy, workload))
    return await shaped_load(bench, strategy, weights, load, name=name, phase=phase, stage=stage)


async def shaped_load(
    bench: Bench, strategy: Strategy, weights: Path, load: Load, *, name: str, phase: StepKind, stage: Stage
) -> LoadReport:
    """The same with a load of any shape."""

    async def run() -> LoadReport:
        async def after(level: LoadLevel) -> None:
            detail = f"{level.arrivals.value} {level.setting:.3g}: {level.throughput_rps.value:.2f} requests/s"
            await bench.say(phase, stage, detail, level=level)

        log = bench.log(f"serve-{name}")
        async with llamacpp.serve(
            strategy, weights, python=bench.tools.python, log=log, limits=bench.workshop.limits
        ) as endpoint:
            report = await measure(
                endpoint,
                await prompts_of(bench, endpoint, load.spec.input_tokens),
                load.spec,
                strategy=strategy.label,
                rows=bench.job.directory / f"load-{name}.jsonl",
                on_level=after,
                more=load.more,
            )
        return report.model_copy(update={"knee": load.knee(report.levels)})

    return await bench.step(f"load-{name}", LoadReport, run)


async def prompts_of(bench: Bench, endpoint: Endpoint, length: int) -> list[list[int]]:
    """Different prompts of `length` tokens each, out of the calibration text.

    Raises:
        AgentError: `unsupported` where the text is shorter than one prompt.
    """
    source = bench.texts.calibration
    text = source.path.read_text(encoding="utf-8")[: PROMPTS * length * CHARACTERS_PER_TOKEN]
    ids = await llamacpp.tokens(endpoint, text)
    prompts = [ids[start : start + length] for start in range(0, len(ids) - length + 1, length)][:PROMPTS]
    if not prompts:
        detail = f"{source.name} is shorter than a prompt of {length} tokens; name a longer text"
        raise AgentError(ErrorCode.UNSUPPORTED, detail)
    return prompts
