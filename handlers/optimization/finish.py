"""Trials in, report out: which strategy is recommended, whether every limit was met, and the files that say so."""

from collections.abc import Iterator
from dataclasses import dataclass

from executors.files import write_whole
from handlers.handover.jobs import after_run as after_run_left
from handlers.markdown.report import report_markdown
from handlers.optimization import plots
from handlers.optimization.advice import from_file
from handlers.optimization.cost import cost_of
from handlers.optimization.delegate import after_run, hand_off
from handlers.optimization.trial import compare_load
from handlers.optimization.verdict import arrivals, before_after, capacity, conditions, lines, target_lines
from handlers.workbench.bench import Bench, metrics_of, quality_of
from handlers.workbench.conditions import disturbed, machine, requests
from handlers.workbench.engines import considered
from handlers.workbench.weights import Base
from schemas.command import OptimizeInference
from schemas.delegation import HandoffOutcome
from schemas.measurement import LoadReport
from schemas.plan import Candidate, Plan, StepKind
from schemas.report import Comparison, Learned, Report, Trial
from schemas.status import InferenceStatus, JobState
from schemas.text import counted


@dataclass(frozen=True)
class Findings:
    """What was asked, and all that a run found out."""

    command: OptimizeInference
    base: Base
    plan: Plan
    """As it was before anything was measured."""
    baseline: LoadReport
    trials: tuple[Trial, ...]
    left: Plan
    """As it was when the trials ended: what it would still try, was not tried."""

    @property
    def baseline_comparisons(self) -> tuple[Comparison, ...]:
        """The untouched model, predicted against measured."""
        return compare_load(self.plan.baseline, self.baseline)


async def finish(bench: Bench, found: Findings) -> Report:
    """The report, written as `report.json`, `report.md` and plots into the job's directory; peers are asked before."""
    wanted = tuple(after_run(found.trials, found.baseline_comparisons))
    outcomes = await hand_off(bench.job, bench.agent, bench.model, wanted)
    return await bench.step("report", Report, lambda: _write(bench, found, outcomes))


async def _write(bench: Bench, found: Findings, outcomes: tuple[HandoffOutcome, ...]) -> Report:
    directory = bench.job.directory
    drawn = plots.draw(directory, found.baseline, found.trials, found.command.constraints.max_quality_loss)
    report = compose(bench, found).model_copy(update={"plots": drawn, "handoffs": outcomes})
    left = after_run_left(directory, found.command, report, from_file(bench.source))
    report = report.model_copy(update={"handover": left})
    write_whole(directory / "plan.json", found.plan.model_dump_json(indent=1))
    write_whole(directory / "report.json", report.model_dump_json(indent=1))
    write_whole(directory / "report.md", report_markdown(report))
    return report


def compose(bench: Bench, found: Findings) -> Report:
    """The report without plots and hand-offs."""
    trials, baseline = found.trials, found.baseline
    best = recommended(found.command, trials, baseline)
    chosen = trials.index(best) if best else None
    load = best.load if best and best.load else baseline
    cost = cost_of(best.candidate if best else found.plan.baseline, load)
    limits = lines(found.command, load, best.gate if best else None, cost)
    met = all(line.met for line in limits)
    return Report(
        job=bench.job.job,
        model=bench.model,
        state=JobState.COMPLETED if met else JobState.NOT_MET,
        sentence=_sentence(best, len(trials), baseline, load, [line.name for line in limits if not line.met]),
        actions=_actions(bench, best),
        lines=limits,
        before_after=before_after(baseline, load) if best else (),
        chosen=best.candidate.strategy.label if best else None,
        recommended=chosen,
        hash=f"inf_opt_v{0 if chosen is None else chosen + 1}",
        host=bench.host,
        conditions=(
            *_expected(found.plan),
            *machine(bench.host),
            requests(load),
            *disturbed([baseline, *(trial.load for trial in trials if trial.load)]),
        ),
        baseline=baseline,
        baseline_comparisons=found.baseline_comparisons,
        baseline_note=found.base.note,
        engines=considered(found.command.constraints.engines, bench.workshop),
        trials=trials,
        learned=tuple(learned((*found.plan.frontier, *found.plan.chosen), trials)),
        not_tried=_not_tried(found.left, trials, bench.workshop.effort.trials),
        plan=found.plan,
        cost=cost,
        assumptions=found.plan.assumptions,
        handoffs=(),
        artifacts=tuple(trial.artifact for trial in trials if trial.artifact),
        plots=(),
        reproduce=(
            "inferwright serve --nats nats://127.0.0.1:4222",
            f"inferwright send {bench.job.directory}/command.json --nats nats://127.0.0.1:4222",
        ),
        undo="Serve F16.gguf again with the baseline's settings; only this job's directory and the cache changed.",
    )


def learned(first: tuple[Candidate, ...], trials: tuple[Trial, ...]) -> Iterator[Learned]:
    """What the first plan said of each trial that was loaded, where the plan that it was taken from said otherwise."""
    said = {item.strategy: item for item in first}
    for trial in trials:
        before = said.get(trial.candidate.strategy)
        if before is None or trial.load is None:
            continue
        corrected = {pair.metric: pair.predicted for pair in trial.comparisons}
        for pair in compare_load(before, trial.load):
            if min(pair.measured.value, pair.predicted.value) <= 0:
                continue
            if corrected.get(pair.metric, pair.predicted).value != pair.predicted.value:
                yield Learned(
                    strategy=trial.candidate.strategy.label,
                    metric=pair.metric,
                    first=pair.predicted,
                    corrected=corrected[pair.metric],
                    measured=pair.measured,
                )


def recommended(command: OptimizeInference, trials: tuple[Trial, ...], baseline: LoadReport) -> Trial | None:
    """Of the trials that passed the gate the one that meets most limits, then the fastest.

    None where the untouched model meets as many and is no slower.
    """
    served = [(trial, trial.load) for trial in trials if trial.load]
    ranked = max(served, key=lambda pair: _worth(command, pair[1]), default=None)
    return ranked[0] if ranked and _worth(command, ranked[1]) > _worth(command, baseline) else None


def _worth(command: OptimizeInference, load: LoadReport) -> tuple[int, float]:
    """How many of the request's targets a load test met, and its throughput."""
    return sum(line.met for line in target_lines(command.targets, load)), capacity(load).throughput_rps.value


def final_status(report: Report) -> InferenceStatus:
    """The terminal update: the figures of what is recommended, not of what was tried last."""
    best = report.best
    load = best.load if best and best.load else report.baseline
    cost = report.cost.per_1k_requests
    return InferenceStatus(
        state=report.state,
        phase=StepKind.VALIDATION,
        optimization=report.chosen or load.strategy,
        detail=" ".join(
            (report.sentence, *([f"For operators: {', '.join(report.handover)}."] if report.handover else []))
        ),
        progress=1.0,
        metrics=metrics_of(arrivals(load)),
        quality=quality_of(best.gate) if best and best.gate else None,
        cost_per_1k=cost.value if cost else None,
    )


def _sentence(best: Trial | None, tried: int, baseline: LoadReport, load: LoadReport, missed: list[str]) -> str:
    verdict = f"It does not meet {', '.join(missed)}." if missed else "Every limit was met."
    if best is None or best.gate is None:
        why = "No candidate passed the quality gate and was served" if tried else "There was no candidate to try"
        return f"{why}: keep the baseline. {verdict}"
    before, after = capacity(baseline).throughput_rps.value, capacity(load).throughput_rps.value
    slow, fast = arrivals(baseline), arrivals(load)
    latency = ""
    if slow.latency and fast.latency:
        latency = (
            f" and latency p95 {fast.latency.p95.value:.0f} ms instead of {slow.latency.p95.value:.0f} ms "
            f"with {conditions(fast, load)}"
        )
    quality = best.gate.quality
    return (
        f"Serve {best.candidate.strategy.label}: {after:.2f} requests/s at capacity instead of {before:.2f}{latency}, "
        f"at a measured perplexity loss of {quality.loss:+.2%} (at most {quality.loss_high:+.2%}). {verdict}"
    )


def _actions(bench: Bench, best: Trial | None) -> tuple[str, ...]:
    if best is None or best.artifact is None:
        return ("Keep serving the untouched model.", "Loosen max_quality_loss, or ask for other hardware.")
    strategy = best.candidate.strategy
    serve = (
        f"Serve {best.artifact.path} from {bench.job.directory} with {strategy.engine}: "
        f"{counted(strategy.threads, 'thread')}, {counted(strategy.max_sequences, 'slot')}, "
        f"{strategy.batched_tokens} batched tokens, "
        f"{strategy.kv_format} KV cache."
    )
    return (
        serve,
        "Measure again on the machine that will serve it: these figures hold for this host and this load only.",
    )


def _expected(plan: Plan) -> tuple[str, ...]:
    """What the planner said beforehand, where it held out no hope."""
    return () if plan.feasible else (f"Predicted before anything was measured: {plan.verdict}",)


def _not_tried(left: Plan, trials: tuple[Trial, ...], most: int) -> tuple[str, ...]:
    """Why each candidate that the plan would still try was not, and what was ruled out before."""
    tried = {trial.candidate.strategy for trial in trials}
    why = "it does not promise enough more than the best"
    if len(trials) >= most:
        why = f"the limit is {counted(most, 'trial')}"
    rest = tuple(
        f"{item.strategy.label}: predicted {item.prediction.throughput_rps.value:.2f} requests/s and a loss of "
        f"{item.prediction.quality_loss.value:+.2%}; {why}"
        for item in left.chosen
        if item.strategy not in tried
    )
    others = (f"{item.count} others ruled out: {item.reason}, for example {item.example}" for item in left.ruled_out)
    return (*rest, *others)
