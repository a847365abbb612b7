"""Records as a run would make them, for tests of what is made of records."""

from schemas.evidence import Estimate, Evidence
from schemas.measurement import (
    Arrivals,
    GateDecision,
    GateVerdict,
    LoadLevel,
    LoadReport,
    Percentiles,
    QualityMeasurement,
    Resources,
)
from schemas.plan import Candidate, Memory, Prediction, Strategy
from schemas.report import Trial, TrialOutcome


def measured(value: float, unit: str = "ms") -> Estimate:
    """A measured figure with a width of a tenth."""
    return Estimate(value=value, low=0.9 * value, high=1.1 * value, unit=unit, evidence=Evidence.MEASURED)


def percentiles(p50: float) -> Percentiles:
    """Percentiles around a median in milliseconds."""
    return Percentiles(p50=measured(p50), p95=measured(2 * p50), p99=measured(3 * p50))


def level(arrivals: Arrivals, setting: float, rps: float, p50: float, errors: int = 0) -> LoadLevel:
    """One level of load."""
    return LoadLevel(
        arrivals=arrivals,
        setting=setting,
        seed=1,
        duration_s=10,
        requests=20,
        completed=20 - errors,
        errors=errors,
        throughput_rps=measured(rps, "requests/s"),
        output_tokens_s=measured(24 * rps, "tok/s"),
        ttft=percentiles(p50 / 4),
        tpot=percentiles(p50 / 40),
        latency=percentiles(p50),
        resources=Resources(cpu_util=0.9, engine_cpu_seconds=9, rss_peak_mb=400),
    )


def load(rps: float, p50: float, *, errors: int = 0, strategy: str = "llama.cpp F16") -> LoadReport:
    """A load test of two levels: four open requests, and Poisson."""
    return LoadReport(
        strategy=strategy,
        input_tokens=64,
        output_tokens=24,
        warmup_requests=2,
        ready_s=1,
        levels=(level(Arrivals.CONCURRENCY, 4, rps, p50), level(Arrivals.POISSON, 1, 1, p50, errors)),
    )


def gate(loss: float, verdict: GateVerdict) -> GateDecision:
    """A decision of the gate at 2 %."""
    quality = QualityMeasurement(
        tokens=4000,
        baseline_perplexity=16,
        perplexity=16 * (1 + loss),
        loss=loss,
        loss_low=loss - 0.004,
        loss_high=loss + 0.004,
        confidence=0.95,
        kl=0.01,
        kl_low=0.009,
        kl_high=0.011,
        top1=0.93,
        text="enwiki sample, evaluation half",
    )
    return GateDecision(verdict=verdict, limit=0.02, quality=quality, sentence="a sentence")


def candidate(weight_format: str) -> Candidate:
    """A strategy with a prediction that nobody reads here."""
    said = {name: guessed(1.0) for name in Prediction.model_fields if name not in OPTIONAL}
    memory = Memory(weights_gb=0.1, kv_cache_gb=0.1, activations_gb=0.1, runtime_gb=0.1)
    strategy = Strategy(engine="llama.cpp", weight_format=weight_format, accelerator="host", max_sequences=4)
    return Candidate(strategy=strategy, prediction=Prediction(**said), memory=memory)


OPTIONAL = {"cost_monthly_usd", "cost_per_1k_usd", "cost_per_1m_tokens_usd"}


def guessed(value: float) -> Estimate:
    """A figure of the planner's."""
    return Estimate(value=value, low=value, high=value, unit="", evidence=Evidence.CALIBRATED)


def trial(weight_format: str, rps: float | None, loss: float = 0.0) -> Trial:
    """A candidate that passed the gate and served `rps`, or that the gate refused."""
    passed = rps is not None
    return Trial(
        candidate=candidate(weight_format),
        outcome=TrialOutcome.MET if passed else TrialOutcome.MISSED_QUALITY,
        sentence="a sentence",
        gate=gate(loss, GateVerdict.PASSED if passed else GateVerdict.FAILED),
        load=load(rps, 1000 / rps, strategy=weight_format) if rps else None,
    )
