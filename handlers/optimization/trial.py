"""One candidate, tried: build its weights, judge them, and only when they pass put load on them."""

import asyncio
import hashlib
import shutil
from pathlib import Path

from executors.compress.gguf import compute_importance, manifest, manifest_of, quantize
from executors.measure.gate import GateRule
from executors.measure.score import judge
from handlers.optimization.bench import Bench, Stage, quality_of
from handlers.optimization.cost import cost_of
from handlers.optimization.verdict import arrivals, capacity, lines, quality_loss, share_of
from schemas.artifact import Artifact
from schemas.error import AgentError, ErrorCode
from schemas.evidence import Estimate
from schemas.measurement import GateDecision, GateVerdict, LoadReport
from schemas.plan import Candidate, PlannedWorkload, StepKind, Strategy
from schemas.report import Comparison, Trial, TrialOutcome

SURVIVABLE = frozenset({ErrorCode.ENGINE_FAILED, ErrorCode.TOOL_FAILED, ErrorCode.OUT_OF_MEMORY})
"""Errors that end a candidate and not the job."""


async def attempt(bench: Bench, candidate: Candidate, workload: PlannedWorkload, stage: Stage) -> Trial:
    """Try `candidate`; a tool or an engine that fails makes a failed trial, and the job goes on."""
    try:
        return await _attempt(bench, candidate, workload, stage)
    except AgentError as error:
        if error.code not in SURVIVABLE:
            raise
        return Trial(candidate=candidate, outcome=TrialOutcome.FAILED, sentence=error.detail)


async def _attempt(bench: Bench, candidate: Candidate, workload: PlannedWorkload, stage: Stage) -> Trial:
    strategy = candidate.strategy
    name = weights_name(strategy)
    weights = bench.job.directory / f"{name}.gguf"
    await bench.say(StepKind.OPTIMIZATION, stage, f"making {weights.name} from {bench.base.name}")
    artifact = await bench.step(f"compress-{name}", Artifact, lambda: _compress(bench, stage, strategy, weights))
    await bench.say(StepKind.VALIDATION, stage, "judging quality against the baseline")
    gate = await bench.step(f"judge-{name}", GateDecision, lambda: _judge(bench, stage, weights))
    await bench.say(StepKind.VALIDATION, stage, gate.sentence, quality=quality_of(gate))
    if gate.verdict is not GateVerdict.PASSED:
        return Trial(
            candidate=candidate,
            outcome=TrialOutcome.MISSED_QUALITY,
            sentence=gate.sentence,
            artifact=artifact,
            gate=gate,
            comparisons=_compare(candidate, gate, None),
        )
    run = run_name(strategy)
    load = await bench.step(f"load-{run}", LoadReport, lambda: bench.load(strategy, weights, workload, run, stage))
    missed = [line.name for line in lines(bench.command, load, gate, cost_of(candidate, load)) if not line.met]
    return Trial(
        candidate=candidate,
        outcome=TrialOutcome.MISSED_TARGET if missed else TrialOutcome.MET,
        sentence=f"passed the gate, missed {', '.join(missed)}" if missed else "passed the gate and met every target",
        artifact=artifact,
        gate=gate,
        load=load,
        comparisons=_compare(candidate, gate, load),
    )


def weights_name(strategy: Strategy) -> str:
    """The name of a strategy's weights: strategies that differ only in how they are served share them."""
    return strategy.weight_format + ("-imatrix" if strategy.importance_matrix else "")


def run_name(strategy: Strategy) -> str:
    """The name of a strategy's load test."""
    served = f"{strategy.threads}t-{strategy.max_sequences}s-{strategy.batched_tokens}b"
    return f"{weights_name(strategy)}-{served}"


async def _compress(bench: Bench, stage: Stage, strategy: Strategy, weights: Path) -> Artifact:
    importance = await _importance(bench, stage) if strategy.importance_matrix else None
    async with bench.tool(StepKind.OPTIMIZATION, stage, f"compress-{weights.stem}") as tool:
        return await quantize(bench.base, strategy.weight_format, weights, importance=importance, bench=tool)


async def _importance(bench: Bench, stage: Stage) -> Path:
    """The importance matrix, in the job's directory."""
    path = bench.job.directory / "importance.npz"
    await bench.step("importance", Artifact, lambda: _provide_importance(bench, stage, path))
    return path


async def _provide_importance(bench: Bench, stage: Stage, path: Path) -> Artifact:
    """Computed once for the same weights, text, length and tools; other jobs copy it from the cache."""
    text, tokens = bench.texts.calibration, bench.workshop.effort.importance_tokens
    parts = (bench.made.output.sha256, text.sha256, tokens, *bench.made.tools)
    kept = bench.workshop.cache / "importance" / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}.npz"
    if not manifest_of(kept).exists():
        async with bench.tool(StepKind.OPTIMIZATION, stage, "importance") as tool:
            await compute_importance(bench.base, kept, text=text, tokens=tokens, bench=tool)
    for source, target in ((kept, path), (manifest_of(kept), manifest_of(path))):
        await asyncio.to_thread(shutil.copyfile, source, target)
    return manifest(path)


async def _judge(bench: Bench, stage: Stage, weights: Path) -> GateDecision:
    rule = GateRule(limit=bench.command.constraints.max_quality_loss, max_tokens=bench.workshop.effort.judge_tokens)
    cache = bench.workshop.cache / "scores"
    async with bench.tool(StepKind.VALIDATION, stage, f"judge-{weights.stem}") as tool:
        return await judge(bench.base, weights, text=bench.texts.evaluation, rule=rule, cache=cache, bench=tool)


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
