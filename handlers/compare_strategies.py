"""COMPARE_STRATEGIES in; as a job engines and weight formats side by side under one load, interleaved."""

from handlers.comparison.pairs import THROUGHPUT, pairs
from handlers.comparison.rounds import LABEL, level_of, make, measure
from handlers.context import JobContext
from handlers.markdown.findings import comparison_markdown
from handlers.optimization.advice import plan_on_host
from handlers.registry import Handler
from handlers.services import Services
from handlers.workbench.bench import Stage
from handlers.workbench.conditions import machine
from handlers.workbench.engines import contender
from handlers.workbench.finding import end
from handlers.workbench.prepare import find, measuring, prepare
from handlers.workbench.weights import base_of
from schemas.error import AgentError, ErrorCode
from schemas.findings import ComparisonReport, Contender, PairVerdict
from schemas.job import Outcome
from schemas.measurement import GateVerdict
from schemas.plan import StepKind
from schemas.request import CompareStrategies
from schemas.status import JobState


def starts_job(command: CompareStrategies, services: Services) -> bool:
    """Always; refused at the door where there are no weights, or a strategy is unknown, not installed or named twice.

    Raises:
        AgentError: `unknown_model`, `unreadable_model`, `unsupported`, `invalid_command`, `not_available`,
            `toolchain_missing`.
    """
    named = [contender(name, services.workshop) for name in command.strategies]
    if len({(chosen.name, str(how)) for chosen, how in named}) < len(named):
        raise AgentError(ErrorCode.INVALID_COMMAND, "strategies: name each one once")
    find(command.model, services)
    return True


async def work(command: CompareStrategies, job: JobContext, services: Services) -> Outcome:
    """Make and judge each form, serve all at once, and load one after the other, round by round."""
    async with measuring(services.workshop):
        bench = await prepare(command, find(command.model, services), job, services)
        planned = await plan_on_host(bench, command.workload)
        served, limit = planned.baseline.strategy, command.constraints.max_quality_loss
        base = await base_of(bench, Stage(LABEL, served.label, 0.05))
        forms = await make(
            bench, base, [contender(name, services.workshop) for name in command.strategies], served, limit
        )
        rounds = await measure(bench, planned, forms)
    against = [(), *(pairs(rounds.levels[0], levels) for levels in rounds.levels[1:])]
    contenders = tuple(
        Contender(
            strategy=form.strategy,
            rounds=levels,
            gate=form.gate,
            against_first=found,
            verdict=next((pair.verdict for pair in found if pair.metric == THROUGHPUT), None),
        )
        for form, levels, found in zip(forms, rounds.levels, against, strict=True)
    )
    level, workload = level_of(bench, planned), planned.workload
    load = (
        f"{len(rounds.levels[0])} rounds after one that does not count, {level.requests} requests each, "
        f"{level.setting:g} open at a time, {workload.input_tokens} tokens in, {workload.output_tokens} out, greedy, "
        "prompt cache off; all engines stay loaded, one works at a time, and the order alternates."
    )
    report = ComparisonReport(
        job=job.job,
        cmd=command.cmd,
        model=command.model,
        state=JobState.COMPLETED,
        sentence=_sentence(contenders),
        conditions=(*machine(bench.host), load),
        host=bench.host,
        input_tokens=workload.input_tokens,
        output_tokens=workload.output_tokens,
        contenders=contenders,
        baseline_note=base.note,
        hash=LABEL,
    )
    return end(bench, report, comparison_markdown(report), phase=StepKind.VALIDATION)


def _sentence(contenders: tuple[Contender, ...]) -> str:
    """Each one against the first, and which to serve: the fastest that the gate passed and that is shown faster."""
    first, *others = contenders
    said = f"Against {first.strategy.label}: {'; '.join(_said(contender) for contender in others)}"
    better = [one for one in others if one.verdict is PairVerdict.FASTER and _passed(one)]
    if better:
        return f"{said}; serve {max(better, key=_ratio).strategy.label}."
    if _passed(first):
        return f"{said}; none that the gate passed is shown to be faster, so keep the first."
    return f"{said}; none that the gate passed is shown to be faster, and it did not pass the first either."


def _said(contender: Contender) -> str:
    gate = "untouched" if contender.gate is None else f"gate: {contender.gate.verdict}"
    pair = next((pair for pair in contender.against_first if pair.metric == THROUGHPUT), None)
    if pair is None or contender.verdict is None:
        return f"{contender.strategy.label} completed too few requests to compare ({gate})"
    ratio, words = pair.ratio, contender.verdict.value.replace("_", " ")
    return (
        f"{contender.strategy.label} {words}, {ratio.value:.2f} times the requests/s "
        f"({ratio.low:.2f} to {ratio.high:.2f}, {gate})"
    )


def _passed(contender: Contender) -> bool:
    return contender.gate is None or contender.gate.verdict is GateVerdict.PASSED


def _ratio(contender: Contender) -> float:
    return next(pair.ratio.value for pair in contender.against_first if pair.metric == THROUGHPUT)


HANDLER = Handler(
    command=CompareStrategies,
    summary="Sets engines and weight formats side by side under one load, interleaved, with paired statistics.",
    work=work,
    starts_job=starts_job,
)
