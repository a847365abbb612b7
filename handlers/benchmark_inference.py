"""BENCHMARK_INFERENCE in; as a job one form of a model, served by one engine, under load on this machine."""

from executors import toolchain
from executors.measure import guidellm
from handlers.context import JobContext
from handlers.markdown.findings import performance_markdown
from handlers.optimization.advice import plan_on_host
from handlers.optimization.plots import draw_load
from handlers.optimization.verdict import capacity, conditions
from handlers.registry import Handler
from handlers.services import Services
from handlers.workbench.bench import Stage
from handlers.workbench.conditions import disturbed, machine, requests
from handlers.workbench.finding import end
from handlers.workbench.load import shaped_load
from handlers.workbench.prepare import measuring, prepare
from handlers.workbench.shapes import asked, longest, sla_of
from handlers.workbench.subject import subject_of
from schemas.error import AgentError, ErrorCode
from schemas.findings import PerformanceReport
from schemas.job import Outcome
from schemas.measurement import Generator, LoadReport
from schemas.plan import StepKind
from schemas.request import BenchmarkInference
from schemas.status import JobState

LABEL = "performance_v1"


def starts_job(command: BenchmarkInference, services: Services) -> bool:
    """Always; refused at the door where there are no weights, or for an engine that is not here.

    Raises:
        AgentError: `unknown_model`, `unreadable_model`, `unsupported`, `not_available`, `invalid_command`,
            `toolchain_missing`.
    """
    if command.load.stress and not sla_of(command.targets).given:
        detail = "load.stress: name a time in targets that may break, such as latency_p95"
        raise AgentError(ErrorCode.INVALID_COMMAND, detail)
    if command.load.generator is Generator.GUIDELLM:
        toolchain.find(guidellm.TOOLCHAIN, services.workshop.cache)
    subject_of(command, services)
    return True


async def work(command: BenchmarkInference, job: JobContext, services: Services) -> Outcome:
    """The model's form under the load that was asked for, or that a plan for this host would assume."""
    subject = subject_of(command, services)
    async with measuring(services.workshop):
        bench = await prepare(command, subject.source, job, services)
        planned = await plan_on_host(bench, command.workload)
        strategy = subject.strategy(planned.baseline.strategy)
        stage = Stage(LABEL, strategy.label, 0.1)
        weights = await subject.weights(bench, stage)
        wanted = asked(command, bench.workshop.effort, strategy, planned.workload)
        shape = {"context": max(strategy.context, longest(wanted.spec)), "prefix_caching": wanted.shares}
        strategy = strategy.model_copy(update=shape)
        load = await shaped_load(
            bench, strategy, weights, wanted, name=weights.stem, phase=StepKind.VALIDATION, stage=stage
        )
    full = capacity(load)
    report = PerformanceReport(
        job=job.job,
        cmd=command.cmd,
        model=command.model,
        state=JobState.COMPLETED,
        sentence=(
            f"{weights.name} in {strategy.label} serves {full.throughput_rps.value:.2f} requests/s at capacity "
            f"({conditions(full, load)}).{_knee(load)}"
        ),
        conditions=(*machine(bench.host), requests(load), *disturbed([load])),
        host=bench.host,
        strategy=strategy,
        load=load,
        assumptions=planned.assumptions,
        plots=draw_load(job.directory, load),
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
    summary="Load-tests a model in one form with one engine, on this machine.",
    work=work,
    starts_job=starts_job,
)
