"""The closed loop: baseline, plan, then candidate after candidate with predictions corrected by what was measured."""

from dataclasses import replace

from executors.compress.methods import GGUF_ENGINE
from handlers.context import JobContext
from handlers.optimization.advice import facts_of
from handlers.optimization.finish import Findings, finish
from handlers.optimization.trial import Attempts, compare_load
from handlers.optimization.verdict import capacity
from handlers.services import Services
from handlers.workbench.bench import Bench, Stage
from handlers.workbench.load import load_test
from handlers.workbench.memory import remember
from handlers.workbench.prepare import find, prepare
from handlers.workbench.weights import Base, base_of
from planners.plan import Facts, plan
from schemas.command import Mode, OptimizeInference, Performance
from schemas.correction import AT_ANY_RATE, OperatingPoint
from schemas.measurement import LoadReport
from schemas.plan import Candidate, Plan, StepKind, Strategy
from schemas.report import Comparison, Report, Trial, TrialOutcome

SUSTAINABLE = 0.5
"""Share of the measured baseline's capacity at which arrivals are planned where no plan meets what was asked."""
WORTH_TRYING = 1.05
"""Once a strategy has met every limit, another is tried only if it promises this much more throughput."""


async def optimize(command: OptimizeInference, job: JobContext, services: Services) -> Report:
    """Carry the command out on this machine.

    Raises:
        AgentError: where the job cannot go on; a candidate that fails does not raise.
    """
    command = _deployable(command)
    bench = await prepare(command, find(command.model, services), job, services)
    effort = services.workshop.effort
    facts = await facts_of(bench, command)
    first = plan(command, facts)
    at = OperatingPoint.of(first.workload)
    stage = Stage("inf_opt_v0", first.baseline.strategy.label, 0.1)
    base = await base_of(bench, stage)
    baseline = await measure_baseline(bench, base, first, stage)
    facts = _learn(facts, first.baseline.strategy, compare_load(first.baseline, baseline), at)
    trials: list[Trial] = []
    attempts = Attempts(command, bench, base, first.workload)
    current = _plan(command, facts, baseline)
    while len(trials) < effort.trials:
        candidate = _next(current, first.baseline.strategy, trials)
        if candidate is None:
            break
        number = len(trials) + 1
        stage = Stage(f"inf_opt_v{number}", candidate.strategy.label, 0.2 + 0.75 * len(trials) / effort.trials)
        trial = await attempts.attempt(candidate, stage)
        trials.append(trial if current.workload == first.workload else _comparable(trial))
        facts = _learn(facts, candidate.strategy, trials[-1].comparisons, at)
        current = _plan(command, facts, baseline)
    await remember(bench, facts.corrections.measurements)
    return await finish(bench, Findings(command, base, first, baseline, tuple(trials), current))


def _deployable(command: OptimizeInference) -> OptimizeInference:
    """The command; where it is to go live and names no engine, with llama.cpp: production is not moved unasked."""
    if command.mode is not Mode.DEPLOY or command.constraints.engines:
        return command
    return command.model_copy(
        update={"constraints": command.constraints.model_copy(update={"engines": (GGUF_ENGINE,)})}
    )


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


async def measure_baseline(bench: Bench, base: Base, first: Plan, stage: Stage, *, profile: bool = False) -> LoadReport:
    """The untouched model under the plan's load."""
    await bench.say(StepKind.BASELINE, stage, f"measuring the untouched model; decode is bound by {first.bottleneck}")
    return await load_test(
        bench,
        first.baseline.strategy,
        base.path,
        workload=first.workload,
        phase=StepKind.BASELINE,
        stage=stage,
        profile=profile,
    )


def _comparable(trial: Trial) -> Trial:
    """The trial with only those comparisons that hold at any rate of arrivals."""
    kept = tuple(item for item in trial.comparisons if item.metric in AT_ANY_RATE)
    return trial.model_copy(update={"comparisons": kept})


def _learn(facts: Facts, strategy: Strategy, comparisons: tuple[Comparison, ...], at: OperatingPoint) -> Facts:
    """The facts with what was measured for `strategy` among them."""
    corrections = facts.corrections
    for item in comparisons:
        corrections = corrections.with_measurement(strategy, item, at)
    return replace(facts, corrections=corrections)


def _next(current: Plan, untouched: Strategy, trials: list[Trial]) -> Candidate | None:
    """The first candidate of the plan that is worth a trial, None where nothing is."""
    served = {_run(trial.candidate.strategy) for trial in trials}
    refused = {_weights(trial.candidate.strategy) for trial in trials if trial.outcome is TrialOutcome.MISSED_QUALITY}
    refused.add(_weights(untouched))
    met = [trial.load for trial in trials if trial.outcome is TrialOutcome.MET and trial.load]
    best = max((capacity(load).throughput_rps.value for load in met), default=0.0)
    for candidate in current.chosen:
        fresh = _run(candidate.strategy) not in served and _weights(candidate.strategy) not in refused
        if fresh and candidate.prediction.throughput_rps.value > best * WORTH_TRYING:
            return candidate
    return None


def _weights(strategy: Strategy) -> tuple[str, str, bool]:
    """What tells the weights of two strategies apart."""
    return strategy.engine, strategy.weight_format, strategy.importance_matrix


def _run(strategy: Strategy) -> tuple[object, ...]:
    """What tells two load tests apart."""
    return *_weights(strategy), strategy.threads, strategy.max_sequences, strategy.batched_tokens
