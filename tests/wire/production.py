"""A deployment in the middle of a rollout, as records: what the dashboard is shown where no gateway runs."""

from pathlib import PurePosixPath

from schemas.command import QualityWatch
from schemas.deployment import (
    AnswerCache,
    Deployment,
    DeploymentReport,
    DeploymentState,
    JudgedMetric,
    Judgement,
    Release,
    Replica,
    ReplicaNow,
    RolloutEnd,
    RolloutOutcome,
    RolloutStep,
    Route,
    Service,
    Slot,
)
from schemas.evidence import Estimate, Evidence
from schemas.exposure import CacheFigures
from schemas.measurement import GateDecision, GateVerdict, Percentiles, QualityMeasurement
from schemas.plan import Strategy
from schemas.sampling import Drift, DriftState, Sampling
from schemas.traffic import Burn, SenderCost


def measured(value: float, unit: str = "ms") -> Estimate:
    """A measured figure, give or take 5 %."""
    return Estimate(value=value, low=0.95 * value, high=1.05 * value, unit=unit, evidence=Evidence.MEASURED)


def _latency(p95: float) -> Percentiles:
    return Percentiles(p50=measured(0.6 * p95), p95=measured(p95), p99=measured(1.2 * p95))


def _gate() -> GateDecision:
    quality = QualityMeasurement(
        tokens=1024,
        baseline_perplexity=16.43,
        perplexity=16.51,
        loss=0.0049,
        loss_low=-0.0054,
        loss_high=0.0152,
        confidence=0.95,
        kl=0.0036,
        kl_low=0.003,
        kl_high=0.004,
        top1=0.948,
        text="evaluation half",
    )
    return GateDecision(verdict=GateVerdict.PASSED, limit=0.02, quality=quality, sentence="Q8_0 passes")


def _release(number: int, slot: Slot, weight_format: str, gate: GateDecision | None = None) -> Release:
    return Release(
        number=number,
        slot=slot,
        strategy=Strategy(engine="llama.cpp", weight_format=weight_format, accelerator="host", max_sequences=4),
        weights=PurePosixPath(f"v{number}/{weight_format}.gguf"),
        reference=PurePosixPath("v1/F16.gguf"),
        replicas=(Replica(name=f"{slot}-1", port=9000 + number),),
        gate=gate,
    )


def rollout(share: float = 0.25, p95: float = 812.0) -> tuple[DeploymentReport, ...]:
    """Q8_0 gets `share` of the requests beside F16; the change before was rolled back."""
    old, new = _release(1, Slot.BLUE, "F16"), _release(3, Slot.GREEN, "Q8_0", _gate())
    services = (
        Service(release=old.label, requests=120, failed=0, latency=_latency(900)),
        Service(release=new.label, requests=41, failed=1, latency=_latency(p95)),
    )
    latency = Judgement(
        metric=JudgedMetric.LATENCY,
        verdict=GateVerdict.FAILED,
        measured=measured(0.31, "share"),
        limit=0.05,
        samples=52,
        sentence="31.00% of 52 requests took longer than 1200 ms; at most 5.00% may",
    )
    errors = latency.model_copy(
        update={
            "metric": JudgedMetric.ERRORS,
            "verdict": GateVerdict.PASSED,
            "measured": measured(0.001, "share"),
            "limit": 0.01,
            "sentence": "0.10% of 52 requests failed; at most 1.00% may",
        }
    )
    step = RolloutStep(
        share=0.05,
        seconds=31.2,
        old=services[0],
        new=services[1],
        judgements=(latency, errors),
        passed=False,
        sentence="v2 is too slow",
    )
    last = RolloutOutcome(
        deployment="chat",
        end=RolloutEnd.ROLLED_BACK,
        sentence="Rolled back to v1: 31.00% of 52 requests took longer than 1200 ms.",
        old=old.label,
        new="v2 (llama.cpp Q5_K_M, 1 thread, 4 slots)",
        steps=(step,),
        breach=latency,
        requests=1210,
        seconds=95.5,
        back_s=0.8,
        drained_s=2.1,
    )
    deployment = Deployment(
        name="chat",
        model="SmolLM2-135M-Instruct",
        state=DeploymentState.ROLLING_OUT,
        port=8800,
        metrics_port=8801,
        route=Route(stable=Slot.BLUE, share=share),
        releases=(old, new),
        last=last,
        numbered=3,
        cache=AnswerCache(port=8802),
    )
    replicas = tuple(
        ReplicaNow(name=release.replicas[0].name, release=release.label, state="UP", open_requests=1, served=80, pid=1)
        for release in (old, new)
    )
    sentence = f"v3 gets {share:.0%} of the requests; step 3 of 5, 41 of 50 requests seen."
    report = DeploymentReport(
        deployment=deployment,
        sentence=sentence,
        replicas=replicas,
        queued=3,
        window_s=300,
        services=services,
        costs=_costs(old, new),
        burns=(_burn(old, 300, 120, 0), _burn(old, 3600, 1210, 6), _burn(new, 300, 41, 1), _burn(new, 3600, 41, 1)),
        cache=CacheFigures(deployment="chat", hit=49, miss=3, passed=12),
        drift=_drift(),
    )
    return (report,)


def _costs(old: Release, new: Release) -> tuple[SenderCost, ...]:
    price = Estimate(value=0.02, low=0.0, high=1.0, unit="USD", evidence=Evidence.ASSUMED)
    senders = ((old, "ai-ml-engineer", 900, 610.0), (old, "", 310, 95.5), (new, "ai-ml-engineer", 41, 21.2))
    return tuple(
        SenderCost(
            release=release.label,
            sender=sender,
            requests=requests,
            busy_s=busy_s,
            usd_per_1k=price.model_copy(update={"value": busy_s / requests / 30}),
        )
        for release, sender, requests, busy_s in senders
    )


def _burn(release: Release, window_s: float, requests: int, bad: int) -> Burn:
    rate = bad / requests / 0.01
    return Burn(release=release.label, window_s=window_s, requests=requests, bad=bad, budget=0.01, rate=rate)


def _drift() -> Drift:
    return Drift(
        watch=QualityWatch(),
        limit=0.02,
        state=DriftState.RESTING,
        release=1,
        window=12,
        sampling=Sampling(seen=61, used=52, left_out={"asked before": 9}),
        decision=_gate(),
        judged_at_s=1_795_694_400.0,
        sentence="v1, window 12, on 52 of 61 sampled prompts (9 asked before): Q8_0 passes the gate of 2.00%.",
    )
