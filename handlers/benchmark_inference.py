"""BENCHMARK_INFERENCE in; as a job one model file, served as it is, under load on this machine."""

import asyncio

from executors import toolchain
from executors.compress.gguf import format_of
from executors.compress.gguf_header import read_header
from executors.measure import guidellm
from handlers.context import JobContext
from handlers.markdown.findings import performance_markdown
from handlers.optimization.advice import plan_on_host
from handlers.optimization.verdict import capacity, conditions
from handlers.registry import Handler
from handlers.services import Services
from handlers.workbench.bench import Stage
from handlers.workbench.conditions import disturbed, machine, requests
from handlers.workbench.finding import end
from handlers.workbench.load import shaped_load
from handlers.workbench.prepare import find, measuring, prepare
from handlers.workbench.shapes import asked, longest, sla_of
from schemas.error import AgentError, ErrorCode
from schemas.findings import PerformanceReport
from schemas.job import Outcome
from schemas.measurement import Generator, LoadReport
from schemas.plan import StepKind
from schemas.request import BenchmarkInference
from schemas.status import JobState

ENGINE = "llama.cpp"
LABEL = "performance_v1"


def starts_job(command: BenchmarkInference, services: Services) -> bool:
    """Always; refused at the door where there are no weights, or for an engine that is not here.

    Raises:
        AgentError: `unknown_model`, `unreadable_model`, `not_available`, `invalid_command`, `toolchain_missing`.
    """
    if command.engine is not None and command.engine.strip().casefold() not in {ENGINE, "llamacpp"}:
        raise AgentError(ErrorCode.NOT_AVAILABLE, f"only {ENGINE} serves models here, not {command.engine!r}")
    if command.load.stress and not sla_of(command.targets).given:
        detail = "load.stress: name a time in targets that may break, such as latency_p95"
        raise AgentError(ErrorCode.INVALID_COMMAND, detail)
    if command.load.generator is Generator.GUIDELLM:
        toolchain.find(guidellm.TOOLCHAIN, services.workshop.cache)
    find(command.model, services, command.job)
    return True


async def work(command: BenchmarkInference, job: JobContext, services: Services) -> Outcome:
    """The file under the load that was asked for, or that a plan for this host would assume."""
    source = find(command.model, services, command.job)
    async with measuring(services.workshop):
        bench = await prepare(command, source, job, services)
        planned = await plan_on_host(bench, command.workload)
        header = await asyncio.to_thread(read_header, source)
        strategy = planned.baseline.strategy.model_copy(update={"weight_format": format_of(header)})
        stage = Stage(LABEL, strategy.label, 0.1)
        wanted = asked(command, bench.workshop.effort, strategy, planned.workload)
        shape = {"context": max(strategy.context, longest(wanted.spec)), "prefix_caching": wanted.shares}
        strategy = strategy.model_copy(update=shape)
        load = await shaped_load(
            bench, strategy, source, wanted, name=source.stem, phase=StepKind.VALIDATION, stage=stage
        )
    full = capacity(load)
    report = PerformanceReport(
        job=job.job,
        cmd=command.cmd,
        model=command.model,
        state=JobState.COMPLETED,
        sentence=(
            f"{source.name} in {strategy.label} serves {full.throughput_rps.value:.2f} requests/s at capacity "
            f"({conditions(full, load)}).{_knee(load)}"
        ),
        conditions=(*machine(bench.host), requests(load), *disturbed([load])),
        host=bench.host,
        strategy=strategy,
        load=load,
        assumptions=planned.assumptions,
        hash=LABEL,
    )
    return end(bench, report, performance_markdown(report), load=load, phase=StepKind.VALIDATION)


def _knee(load: LoadReport) -> str:
    """What a stress test found, in a sentence."""
    knee = load.knee
    if knee is None:
        return ""
    held = f"it held {knee.held:.3g} requests/s" if knee.held else "it held none of the rates tried"
    broke = f"broke at {knee.broke:.3g}: {knee.why}" if knee.broke else "nothing broke"
    return f" Under stress {held}; {broke}."


HANDLER = Handler(
    command=BenchmarkInference,
    summary="Load-tests a model's file as it is, on this machine.",
    work=work,
    starts_job=starts_job,
)
