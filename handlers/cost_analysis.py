"""COST_ANALYSIS in, at once what a plan, a job's measured result, or today's own figures cost."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from handlers.markdown.cost import cost_markdown
from handlers.optimization.advice import advise, prices_of
from handlers.optimization.verdict import capacity
from handlers.registry import Handler
from handlers.services import Services
from planners.cost import Serving, Terms, cost_of_plan, cost_of_rate, cost_today
from schemas.command import Mode, OptimizeInference
from schemas.error import AgentError, ErrorCode
from schemas.findings import CostReport, PerformanceReport
from schemas.report import Report
from schemas.request import CostAnalysis

Measured: TypeAdapter[Report | PerformanceReport] = TypeAdapter(Report | PerformanceReport)


async def answer(command: CostAnalysis, services: Services) -> CostReport:
    """The price of what the command names; of today's figures alone where the model is not known.

    Raises:
        AgentError: `unknown_model`, `unknown_hardware`, `unknown_job`, `unsupported` for a job that measured no rate.
    """
    request = OptimizeInference(
        cmd="OPTIMIZE_INFERENCE",
        model=command.model,
        current_perf=command.current_perf,
        targets=command.targets,
        constraints=command.constraints,
        workload=command.workload,
        mode=Mode.PLAN,
    )
    prices = prices_of(services.workshop.price_file)
    terms = Terms(command.utilisation, command.usd_per_kwh)
    if command.job is not None:
        measured = _measured(services.runs_dir / command.job)
        return cost_of_rate(command.model, measured, command.constraints, prices, terms)
    try:
        plan = await advise(request, services.workshop)
    except AgentError as error:
        if error.code is ErrorCode.UNKNOWN_MODEL and command.current_perf.cost_monthly is not None:
            return cost_today(command.model, command.current_perf)
        raise
    return cost_of_plan(plan, command.constraints, command.current_perf, prices, terms)


def _measured(directory: Path) -> Serving:
    """The strategy that a job recommends, or measured alone, with its throughput at capacity."""
    path = directory / "report.json"
    if not path.is_file():
        raise AgentError(ErrorCode.UNKNOWN_JOB, f"{directory.name} left no report here; name a job that has ended")
    try:
        report = Measured.validate_json(path.read_bytes())
    except ValidationError as error:
        detail = f"{directory.name} measured no throughput; name an optimization, a baseline or a benchmark"
        raise AgentError(ErrorCode.UNSUPPORTED, detail) from error
    if isinstance(report, PerformanceReport):
        strategy, load = report.strategy, report.load
    elif report.best and report.best.load:
        strategy, load = report.best.candidate.strategy, report.best.load
    else:
        strategy, load = report.plan.baseline.strategy, report.baseline
    return Serving(strategy, capacity(load).throughput_rps, load.output_tokens)


HANDLER = Handler(
    command=CostAnalysis,
    summary="Prices a plan, what a job measured, or what is paid today: by month, request, token and over years.",
    answer=answer,
    markdown=cost_markdown,
)
