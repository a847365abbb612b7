"""One candidate, tried: build its weights, judge them, and only when they pass put load on them."""

from dataclasses import dataclass

from handlers.optimization.cost import cost_of
from handlers.optimization.verdict import arrivals, capacity, lines, quality_loss, share_of
from handlers.workbench.bench import Bench, Stage
from handlers.workbench.engines import how_to_make
from handlers.workbench.forms import build, gate_of
from handlers.workbench.load import load_test
from handlers.workbench.weights import Base
from schemas.command import OptimizeInference
from schemas.error import AgentError, ErrorCode
from schemas.evidence import Estimate
from schemas.measurement import GateDecision, GateVerdict, LoadReport
from schemas.plan import Candidate, PlannedWorkload, StepKind
from schemas.report import Comparison, Trial, TrialOutcome

SURVIVABLE = frozenset({ErrorCode.ENGINE_FAILED, ErrorCode.TOOL_FAILED, ErrorCode.OUT_OF_MEMORY})
"""Errors that end a candidate and not the job."""


@dataclass(frozen=True)
class Attempts:
    """What every trial of a job shares: the request, the workbench, the baseline and the traffic."""

    command: OptimizeInference
    bench: Bench
    base: Base
    workload: PlannedWorkload

    async def attempt(self, candidate: Candidate, stage: Stage) -> Trial:
        """Try `candidate`; a tool or an engine that fails makes a failed trial, and the job goes on."""
        try:
            return await self._attempt(candidate, stage)
        except AgentError as error:
            if error.code not in SURVIVABLE:
                raise
            await self.bench.say(StepKind.VALIDATION, stage, f"given up: {error.detail}")
            return Trial(candidate=candidate, outcome=TrialOutcome.FAILED, sentence=error.detail)

    async def _attempt(self, candidate: Candidate, stage: Stage) -> Trial:
        bench, strategy = self.bench, candidate.strategy
        built = await build(bench, self.base, how_to_make(strategy, bench.workshop), stage)
        gate = await gate_of(bench, built, strategy, self.command.constraints.max_quality_loss, stage)
        if gate is None:
            raise AgentError(ErrorCode.TOOL_FAILED, f"{strategy.label} is the untouched model: there is nothing to try")
        if gate.verdict is not GateVerdict.PASSED:
            return Trial(
                candidate=candidate,
                outcome=TrialOutcome.MISSED_QUALITY,
                sentence=gate.sentence,
                artifact=built.artifact,
                gate=gate,
                comparisons=_compare(candidate, gate, None),
            )
        load = await load_test(
            bench, strategy, built.weights.path, workload=self.workload, phase=StepKind.VALIDATION, stage=stage
        )
        missed = [line.name for line in lines(self.command, load, gate, cost_of(candidate, load)) if not line.met]
        how = f"missed {', '.join(missed)}" if missed else "met every target"
        return Trial(
            candidate=candidate,
            outcome=TrialOutcome.MISSED_TARGET if missed else TrialOutcome.MET,
            sentence=f"passed the gate and {how}",
            artifact=built.artifact,
            gate=gate,
            load=load,
            comparisons=_compare(candidate, gate, load),
        )


def compare_load(candidate: Candidate, load: LoadReport) -> tuple[Comparison, ...]:
    """Predicted against measured, for what a load test measures."""
    full, poisson, said = capacity(load), arrivals(load), candidate.prediction
    pairs: list[tuple[str, Estimate, Estimate | None]] = [
        ("throughput_rps", said.throughput_rps, full.throughput_rps),
        ("output_tokens_s", said.output_tokens_s, full.output_tokens_s),
        ("tpot_ms", said.tpot_ms, share_of(poisson.tpot, "p50")),
        ("ttft_p50_ms", said.ttft_p50_ms, share_of(poisson.ttft, "p50")),
        ("latency_p50_ms", said.latency_p50_ms, share_of(poisson.latency, "p50")),
        ("latency_p95_ms", said.latency_p95_ms, share_of(poisson.latency, "p95")),
    ]
    return tuple(Comparison(metric=name, predicted=was, measured=now) for name, was, now in pairs if now is not None)


def _compare(candidate: Candidate, gate: GateDecision, load: LoadReport | None) -> tuple[Comparison, ...]:
    quality = Comparison(
        metric="quality_loss", predicted=candidate.prediction.quality_loss, measured=quality_loss(gate)
    )
    return (quality, *(compare_load(candidate, load) if load else ()))
