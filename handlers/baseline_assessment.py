"""BASELINE_ASSESSMENT in; as a job the untouched model under load on this machine, and what bounds it."""

from handlers.context import JobContext
from handlers.markdown.findings import performance_markdown
from handlers.optimization.advice import plan_on_host
from handlers.optimization.delegate import hand_off, slow_host
from handlers.optimization.loop import measure_baseline
from handlers.optimization.plots import draw_load
from handlers.optimization.trial import compare_load
from handlers.optimization.verdict import capacity, conditions
from handlers.registry import Handler
from handlers.services import Services
from handlers.workbench.bench import Stage
from handlers.workbench.conditions import disturbed, machine, requests
from handlers.workbench.finding import end
from handlers.workbench.memory import learn
from handlers.workbench.prepare import find, measuring, prepare
from handlers.workbench.weights import base_of
from schemas.correction import OperatingPoint
from schemas.findings import PerformanceReport
from schemas.job import Outcome
from schemas.plan import StepKind
from schemas.request import BaselineAssessment
from schemas.status import JobState

LABEL = "performance_v1"


def starts_job(command: BaselineAssessment, services: Services) -> bool:
    """Always; refused at the door where there are no weights."""
    find(command.model, services)
    return True


async def work(command: BaselineAssessment, job: JobContext, services: Services) -> Outcome:
    """The F16 form under the load that a plan for this host would assume, beside what the plan predicts."""
    async with measuring(services.workshop):
        bench = await prepare(command, find(command.model, services), job, services)
        planned = await plan_on_host(bench, command.workload)
        strategy = planned.baseline.strategy
        stage = Stage(LABEL, strategy.label, 0.1)
        base = await base_of(bench, stage)
        load = await measure_baseline(bench, base, planned, stage, profile=command.profile)
    comparisons = compare_load(planned.baseline, load)
    await learn(bench, strategy, comparisons, OperatingPoint.of(planned.workload))
    handoffs = await hand_off(job, services.agent, command.model, tuple(slow_host(comparisons)))
    full = capacity(load)
    report = PerformanceReport(
        job=job.job,
        cmd=command.cmd,
        model=command.model,
        state=JobState.COMPLETED,
        sentence=(
            f"Untouched, {strategy.label} serves {full.throughput_rps.value:.2f} requests/s at capacity "
            f"({conditions(full, load)}); decode is bound by {planned.bottleneck}."
        ),
        conditions=(*machine(bench.host), requests(load), *disturbed([load])),
        host=bench.host,
        strategy=strategy,
        load=load,
        bottleneck=planned.bottleneck,
        comparisons=comparisons,
        assumptions=planned.assumptions,
        baseline_note=base.note,
        handoffs=handoffs,
        plots=draw_load(job.directory, load),
        hash=LABEL,
    )
    return end(bench, report, performance_markdown(report), load=load, phase=StepKind.BASELINE)


HANDLER = Handler(
    command=BaselineAssessment,
    summary="Measures the untouched model on this machine and says what bounds it.",
    work=work,
    starts_job=starts_job,
)
