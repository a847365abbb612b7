"""One row of the arrays in, a `Candidate` with its intervals, its memory and its reasons out."""

import math
from dataclasses import dataclass

import numpy as np

from planners.corrections import Corrections
from planners.evaluate import Served
from planners.figures import shown
from planners.judge import SPEED_METRICS, Z90, Judged
from planners.memory import context_of
from planners.space import Servable, Space
from planners.speculation import Speculation
from planners.support import engines
from planners.workload import Traffic
from schemas.evidence import Estimate, Evidence
from schemas.model import ModelFacts
from schemas.plan import Candidate, Memory, Prediction, Strategy
from schemas.quantity import HOURS_PER_MONTH
from schemas.text import counted

SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600.0


@dataclass(frozen=True)
class Searched:
    """A whole search: what was asked, every candidate, and what each does."""

    model: ModelFacts
    traffic: Traffic
    space: Space
    served: Served
    judged: Judged
    corrections: Corrections
    silicon: bool
    servable: Servable = None


def cost_per_1k(monthly: float, rate: float) -> float:
    """US dollars per 1,000 requests: a month's cost over a month's requests at `rate` per second."""
    return monthly / (rate * SECONDS_PER_MONTH) * 1e3


def strategy_at(found: Searched, flat: int) -> Strategy:
    """The strategy of a flat index."""
    space = found.space
    cell, column = divmod(flat, space.batches.size)
    group = space.groups[int(space.group[cell])]
    engine = engines()[group.engine]
    tp, pp = int(space.tp[cell]), int(space.pp[cell])
    way = space.ahead[int(space.speculation[cell])]
    return Strategy(
        engine=group.engine,
        weight_format=group.weight_format,
        kv_format=group.kv_format,
        importance_matrix=group.importance_matrix,
        accelerator=group.accelerator.key,
        count=tp * pp,
        tensor_parallel=tp,
        pipeline_parallel=pp,
        replicas=int(space.replicas[cell]),
        threads=int(space.threads[cell]),
        max_sequences=int(space.batches[column]),
        batched_tokens=int(space.batched_tokens[cell]),
        context=context_of(found.model, found.traffic),
        chunked_prefill=bool(space.chunked[cell]),
        prefix_caching=bool(space.prefix[cell]),
        speculation=way.method,
        draft=way.weights,
        guesses=way.guesses,
        scheduling=engine.scheduling[int(space.scheduling[cell])],
    )


def candidate_at(found: Searched, flat: int) -> Candidate:
    """The candidate of a flat index."""
    strategy = strategy_at(found, flat)
    cell, column = divmod(flat, found.space.batches.size)
    memory = found.served.footprint
    return Candidate(
        strategy=strategy,
        prediction=_prediction(found, strategy, cell, column),
        memory=Memory(
            weights_gb=_tidy(memory.weights_gb[cell, column]),
            kv_cache_gb=_tidy(memory.kv_cache_gb[cell, column]),
            activations_gb=_tidy(memory.activations_gb[cell, column]),
            runtime_gb=_tidy(memory.runtime_gb[cell, column]),
        ),
        reasons=_reasons(found, strategy, cell, column),
    )


def _prediction(found: Searched, strategy: Strategy, cell: int, column: int) -> Prediction:
    speed = {field: _speed(found, strategy, field, cell, column) for field in SPEED_METRICS}
    throughput = speed["capacity"]
    tokens = _scaled(throughput, found.traffic.output_tokens, "tokens/s")
    monthly = float(found.judged.monthly[cell, 0])
    rate = found.traffic.rate or throughput.value
    return Prediction(
        throughput_rps=throughput,
        output_tokens_s=tokens,
        ttft_p50_ms=speed["ttft_p50"],
        ttft_p95_ms=speed["ttft_p95"],
        tpot_ms=speed["tpot"],
        latency_p50_ms=speed["latency_p50"],
        latency_p95_ms=speed["latency_p95"],
        latency_p99_ms=speed["latency_p99"],
        quality_loss=found.judged.quality[int(found.space.group[cell])],
        cost_monthly_usd=None if math.isnan(monthly) else _money(found, cell, monthly, "USD/month"),
        cost_per_1k_usd=None if math.isnan(monthly) else _money(found, cell, cost_per_1k(monthly, rate), "USD"),
        cost_per_1m_tokens_usd=None
        if math.isnan(monthly)
        else _money(found, cell, cost_per_1k(monthly, rate) * 1e3 / found.traffic.output_tokens, "USD"),
    )


def _speed(found: Searched, strategy: Strategy, field: str, cell: int, column: int) -> Estimate:
    value = float(getattr(found.judged.latency, field)[cell, column])
    unit = "requests/s" if field == "capacity" else "ms"
    measured = found.corrections.exact(strategy, SPEED_METRICS[field], found.traffic.point)
    if measured is not None and field not in {"ttft_p99", "tpot_p95"}:
        low, high = min(measured.low, measured.measured), max(measured.high, measured.measured)
        return Estimate(
            value=measured.measured,
            low=low,
            high=high,
            unit=unit,
            evidence=Evidence.MEASURED,
            source="measured by this agent",
        )
    sd = float(found.judged.spread[field][cell, column])
    served = found.served
    kept = {"tpot": served.step_evidence, "capacity": served.rate_evidence}.get(field)
    evidence = Evidence.CALIBRATED if kept is None else kept[cell]
    source = "aiconfigurator-core" if evidence is Evidence.SILICON else "planners.performance"
    if strategy.speculation != "none":
        evidence = Evidence.ASSUMED
    return Estimate(
        value=_tidy(value),
        low=_tidy(value * math.exp(-Z90 * sd)),
        high=_tidy(value * math.exp(Z90 * sd)),
        unit=unit,
        evidence=evidence,
        source=source + ("; shifted by measurements" if found.corrections.measurements else ""),
    )


def _scaled(estimate: Estimate, factor: float, unit: str) -> Estimate:
    return estimate.model_copy(
        update={
            "value": _tidy(estimate.value * factor),
            "low": _tidy(estimate.low * factor),
            "high": _tidy(estimate.high * factor),
            "unit": unit,
        }
    )


def _money(found: Searched, cell: int, value: float, unit: str) -> Estimate:
    rent = found.judged.rents[cell]
    source = (
        "" if rent is None else f"{rent.offer.provider} {rent.offer.region} {rent.offer.as_of}: {rent.offer.source}"
    )
    return Estimate(
        value=_tidy(value), low=_tidy(value), high=_tidy(value), unit=unit, evidence=Evidence.ASSUMED, source=source
    )


def _tidy(value: float | np.float64) -> float:
    """Six significant digits: no prediction is better, and the same plan prints the same everywhere."""
    return float(f"{float(value):.6g}")


def _reasons(found: Searched, strategy: Strategy, cell: int, column: int) -> tuple[str, ...]:
    """What speaks for or against it, beside its figures."""
    reasons = []
    rent = found.judged.rents[cell]
    if rent is not None:
        offer = rent.offer
        place = f"{offer.provider} {offer.region}".strip()
        each = f"{rent.instances} x {offer.count} {offer.accelerator}"
        reasons.append(f"{each} at {place}, {offer.kind}, ${rent.usd_per_hour:.4g} an hour ({offer.as_of})")
    missed = [
        f"{limit.name} is predicted at {shown(_at(limit.values, cell, column), limit.unit)} against "
        f"{shown(limit.asked, limit.unit)} asked, but its interval reaches the limit: a measurement decides"
        for limit in found.judged.limits
        if not bool(_at(limit.met, cell, column)) and bool(_at(limit.possible, cell, column))
    ]
    reasons += missed
    if strategy.importance_matrix:
        reasons.append("an importance matrix from calibration text lowers its loss at the same size and speed")
    if strategy.speculation != "none":
        reasons.append(_guesses(found.space.ahead[int(found.space.speculation[cell])]))
    if strategy.prefix_caching:
        reasons.append(f"{found.traffic.shared_prefix_tokens} shared prompt tokens are computed once")
    return tuple(reasons)


def _guesses(way: Speculation) -> str:
    """What a speed-up by guessed tokens rests on."""
    low, high = way.span
    who = {"ngram": "its own text", "draft": way.weights, "eagle3": way.weights, "mtp": "its own extra layer"}
    return (
        f"assumes {way.tokens_per_step:.2g} tokens a step ({low:.2g} to {high:.2g}): {counted(way.guesses, 'token')} "
        f"guessed by {who[way.method]}, each accepted with a chance of {way.acceptance:.0%}; loses nothing in quality"
    )


def _at(values: "np.ndarray[tuple[int, ...], np.dtype[np.float64 | np.bool_]]", cell: int, column: int) -> float:
    return float(values[cell, column if values.shape[1] > 1 else 0])
