"""The closed loop: baseline, plan, then candidate after candidate with predictions corrected by what was measured."""

from dataclasses import replace

from handlers.context import JobContext
from handlers.optimization.bench import Bench, Stage
from handlers.optimization.finish import Findings, finish
from handlers.optimization.prepare import prepare
from handlers.optimization.trial import attempt, compare_load, run_name, weights_name
from handlers.optimization.verdict import capacity
from handlers.services import Services
from planners.plan import Facts, plan
from schemas.command import OptimizeInference, Performance
from schemas.measurement import LoadReport
from schemas.plan import Candidate, Plan, StepKind, Strategy
from schemas.report import Comparison, Report, Trial, TrialOutcome

SUSTAINABLE = 0.5
"""Share of the measured baseline's capacity at which arrivals are planned where no plan meets what was asked."""
AT_ANY_RATE = frozenset({"throughput_rps", "output_tokens_s", "quality_loss"})
"""Metrics that do not depend on how many requests come a second."""
WORTH_TRYING = 1.05
"""Once a strategy has met every limit, another is tried only if it promises this much more throughput."""


async def optimize(command: OptimizeInference, job: JobContext, services: Services) -> Report:
    """Carry the command out on this machine.

    Raises:
        AgentError: where the job cannot go on; a candidate that fails does not raise.
    """
    bench, facts = await prepare(command, job, services)
    effort = services.workshop.effort
    first = plan(command, facts)
    baseline = await bench.step("baseline", LoadReport, lambda: _baseline(bench, first))
    facts = _learn(facts, first.baseline.strategy, compare_load(first.baseline, baseline))
    trials: list[Trial] = []
    current = _plan(command, facts, baseline)
    while len(trials) < effort.trials:
        candidate = _next(current, trials)
        if candidate is None:
            break
        number = len(trials) + 1
        stage = Stage(f"inf_opt_v{number}", candidate.strategy.label, 0.2 + 0.75 * len(trials) / effort.trials)
        trial = await attempt(bench, candidate, first.workload, stage)
        trials.append(trial if current.workload == first.workload else _comparable(trial))
        facts = _learn(facts, candidate.strategy, trials[-1].comparisons)
        current = _plan(command, facts, baseline)
    return await finish(bench, Findings(first, baseline, tuple(trials), current))


def _plan(command: OptimizeInference, facts: Facts, baseline: LoadReport) -> Plan:
    """The plan for what was asked; where nothing is predicted to meet it, for the best that this host can do.

    A prediction is no reason not to measure: the most promising strategies are tried, and the verdict is held against
    what was asked all the same.
    """
    asked = plan(command, facts)
    if asked.chosen:
        return asked
    sustainable = SUSTAINABLE * capacity(baseline).throughput_rps.value
    workload = command.workload.model_copy(update={"request_rate": sustainable})
    return plan(command.model_copy(update={"targets": Performance(), "workload": workload}), facts)


async def _baseline(bench: Bench, first: Plan) -> LoadReport:
    strategy = first.baseline.strategy
    stage = Stage("inf_opt_v0", strategy.label, 0.1)
    await bench.say(StepKind.BASELINE, stage, f"measuring the untouched model; decode is bound by {first.bottleneck}")
    return await bench.load(strategy, bench.base, first.workload, "baseline", stage)


def _comparable(trial: Trial) -> Trial:
    """The trial with only those comparisons that hold at any rate of arrivals."""
    kept = tuple(item for item in trial.comparisons if item.metric in AT_ANY_RATE)
    return trial.model_copy(update={"comparisons": kept})


def _learn(facts: Facts, strategy: Strategy, comparisons: tuple[Comparison, ...]) -> Facts:
    """The facts with what was measured for `strategy` among them."""
    corrections = facts.corrections
    for item in comparisons:
        corrections = corrections.with_measurement(strategy, item.metric, item.predicted.value, item.measured.value)
    return replace(facts, corrections=corrections)


def _next(current: Plan, trials: list[Trial]) -> Candidate | None:
    """The first candidate of the plan that is worth a trial, None where nothing is."""
    served = {run_name(trial.candidate.strategy) for trial in trials}
    failed = {
        weights_name(trial.candidate.strategy) for trial in trials if trial.outcome is TrialOutcome.MISSED_QUALITY
    }
    met = [trial.load for trial in trials if trial.outcome is TrialOutcome.MET and trial.load]
    best = max((capacity(load).throughput_rps.value for load in met), default=0.0)
    for candidate in current.chosen:
        fresh = run_name(candidate.strategy) not in served and weights_name(candidate.strategy) not in failed
        if fresh and candidate.prediction.throughput_rps.value > best * WORTH_TRYING:
            return candidate
    return None
