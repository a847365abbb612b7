"""What candidates do and what was asked in, which limits each meets out; the prices of renting them on the way."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planners.corrections import Corrections
from planners.evaluate import Served, under
from planners.prices import OWNED, PriceTable, Rent, cheapest
from planners.queueing import MAX_UTILISATION, Latency
from planners.space import WIDE_POOLS, Space
from planners.workload import Traffic
from schemas.command import Constraints, OptimizeInference
from schemas.evidence import Estimate, Evidence
from schemas.quantity import HOURS_PER_MONTH

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

Z90 = 1.645
SPEED_METRICS = {
    "ttft_p50": "ttft_p50_ms",
    "ttft_p95": "ttft_p95_ms",
    "ttft_p99": "ttft_p95_ms",
    "tpot": "tpot_ms",
    "tpot_p95": "tpot_ms",
    "latency_p50": "latency_p50_ms",
    "latency_p95": "latency_p95_ms",
    "latency_p99": "latency_p99_ms",
    "capacity": "throughput_rps",
}
"""Fields of `Latency` and the fields of `Prediction` whose measurements correct them."""


@dataclass(frozen=True)
class Limit:
    """One limit of the request: what was asked, what each candidate does, its best case; (C, B) or (C, 1)."""

    name: str
    asked: float
    unit: str
    values: Floats
    best_case: Floats
    at_least: bool = False

    @property
    def met(self) -> Bools:
        """Where the prediction itself is within the limit."""
        return self.values >= self.asked if self.at_least else self.values <= self.asked

    @property
    def possible(self) -> Bools:
        """Where the good end of the interval is within the limit."""
        return self.best_case >= self.asked if self.at_least else self.best_case <= self.asked


@dataclass(frozen=True)
class Judged:
    """Every candidate under the traffic. Spreads are standard deviations of logarithms, (C, B)."""

    latency: Latency
    spread: dict[str, Floats]
    quality: tuple[Estimate, ...]
    monthly: Floats
    rents: tuple[Rent | None, ...]
    limits: tuple[Limit, ...]
    runs: Bools
    """Where the engine can, it fits into memory and keeps up with the arrivals, (C, B)."""

    @property
    def met(self) -> Bools:
        """Where every limit is met by the predictions themselves."""
        return self.all_but(None)

    @property
    def possible(self) -> Bools:
        """Where no interval lies wholly beyond a limit."""
        found = self.runs
        for limit in self.limits:
            found = found & limit.possible
        return found

    def all_but(self, name: str | None) -> Bools:
        """Where every limit but the named one is met."""
        found = self.runs
        for limit in self.limits:
            if limit.name != name:
                found = found & limit.met
        return found


def judge(
    request: OptimizeInference,
    traffic: Traffic,
    space: Space,
    served: Served,
    *,
    prices: PriceTable,
    corrections: Corrections,
    rents: tuple[Rent | None, ...] | None = None,
) -> Judged:
    """Every candidate against every limit; `rents` where they are known from an earlier call."""
    latency, spread = _corrected(under(traffic, space, served), traffic, space, served, corrections)
    quality = tuple(
        _measured_quality(estimate, corrections, space, index) for index, estimate in enumerate(served.quality)
    )
    rents = rent_of(space, prices, request.constraints) if rents is None else rents
    hourly = np.array([np.nan if rent is None else rent.usd_per_hour for rent in rents]).reshape(-1, 1)
    keeps_up = latency.load <= MAX_UTILISATION if traffic.rate > 0 else np.ones_like(latency.load, dtype=np.bool_)
    judged = Judged(
        latency=latency,
        spread=spread,
        quality=quality,
        monthly=hourly * HOURS_PER_MONTH,
        rents=rents,
        limits=(),
        runs=served.footprint.fits & keeps_up,
    )
    return replace(judged, limits=limits_of(request, traffic, space, judged))


def limits_of(request: OptimizeInference, traffic: Traffic, space: Space, judged: Judged) -> tuple[Limit, ...]:
    """The limits that the request states, each with every candidate's figure."""
    latency, spread = judged.latency, judged.spread
    upper = {
        "latency_p50": latency.latency_p50,
        "latency_p95": latency.latency_p95,
        "latency_p99": latency.latency_p99,
        "ttft_p50": latency.ttft_p50,
        "ttft_p95": latency.ttft_p95,
        "ttft_p99": latency.ttft_p99,
        "tpot_p50": latency.tpot,
        "tpot_p95": latency.tpot_p95,
    }
    limits = []
    for name, values in upper.items():
        asked = getattr(request.targets, name)
        if asked is not None:
            sd = spread["tpot" if name == "tpot_p50" else name]
            limits.append(Limit(name, asked, "ms", values, values * np.exp(-Z90 * sd)))
    rates = (("throughput", "requests/s", 1.0), ("throughput_tokens", "tokens/s", float(traffic.output_tokens)))
    for name, unit, factor in rates:
        asked = getattr(request.targets, name)
        if asked is not None:
            values = latency.capacity * factor
            best = values * np.exp(Z90 * spread["capacity"])
            limits.append(Limit(name, asked, unit, values, best, at_least=True))
    values, low = (
        np.array([getattr(estimate, end) for estimate in judged.quality])[space.group][:, None]
        for end in ("value", "low")
    )
    allowed = request.constraints.max_quality_loss
    # Where nothing may be lost, no measurement's upper end passes what is expected to lose something.
    limits.append(Limit("max_quality_loss", allowed, "relative", values, low if allowed else values))
    budget = request.constraints.budget_monthly
    if budget is not None and not all(group.accelerator.key == "host" for group in space.groups):
        # What has no known price cannot be shown to keep within the budget, so it does not.
        priced = np.nan_to_num(judged.monthly, nan=np.inf)
        limits.append(Limit("budget_monthly", budget, "USD", priced, priced))
    return tuple(limits)


def rent_of(space: Space, prices: PriceTable, constraints: Constraints) -> tuple[Rent | None, ...]:
    """The cheapest offer for each cell; None where nothing is for rent."""
    keys = {group.accelerator.key for group in space.groups}
    # What a buyer would pay over three years is no price to rent at: it counts only where hardware is named.
    owned = len(keys) <= WIDE_POOLS or OWNED in constraints.providers
    offers = {
        key: tuple(
            offer
            for offer in prices.select(key, constraints.price_kind, constraints.providers, constraints.regions)
            if owned or offer.provider != OWNED
        )
        for key in keys
    }
    known: dict[tuple[str, int, int], Rent | None] = {}
    rents = []
    shapes = zip(space.group.tolist(), (space.tp * space.pp).tolist(), space.replicas.tolist(), strict=True)
    devices = [group.accelerator for group in space.groups]
    for group, count, replicas in shapes:
        device = devices[group]
        need = (device.key, count, replicas)
        if need not in known:
            known[need] = cheapest(offers[device.key], count, replicas, node=device.per_node)
        rents.append(known[need])
    return tuple(rents)


def _corrected(
    latency: Latency, traffic: Traffic, space: Space, served: Served, corrections: Corrections
) -> tuple[Latency, dict[str, Floats]]:
    """Latency shifted by what was measured near each group, and the spread of each figure.

    First tokens of clients in step wait for each other's prompts: what is unsure of rates is unsure of them too.
    """
    first = served.sd_first
    if traffic.rate == 0:
        in_step = space.replicas[:, None] < traffic.concurrency
        first = np.hypot(first, np.where(in_step, served.sd_rate, 0.0))
    guessed = np.array([way.log_sd for way in space.ahead])[space.speculation][:, None]
    base: dict[str, Floats] = {"ttft": first, "tpot": served.sd_step, "capacity": served.sd_rate}
    base["latency"] = np.hypot(0.5 * served.sd_first, served.sd_step)
    changed: dict[str, Floats] = {}
    spread: dict[str, Floats] = {}
    for field, metric in SPEED_METRICS.items():
        sd = base[field.split("_")[0]]
        if corrections.measurements:
            shifts = [
                corrections.shift(group.engine, group.accelerator.key, group.weight_format, metric)
                for group in space.groups
            ]
            factor = np.exp([shift.log_shift for shift in shifts])
            changed[field] = getattr(latency, field) * factor[space.group][:, None]
            sd = sd * np.array([shift.spread for shift in shifts])[space.group][:, None]
        spread[field] = np.broadcast_to(np.hypot(sd, guessed), latency.latency_p50.shape)
    return replace(latency, **changed), spread


def _measured_quality(estimate: Estimate, corrections: Corrections, space: Space, index: int) -> Estimate:
    group = space.groups[index]
    weights, matrix = group.weight_format, group.importance_matrix
    found = corrections.quality(group.engine, weights, group.kv_format, importance_matrix=matrix)
    if found is None:
        near = corrections.quality(group.engine, weights, None, importance_matrix=matrix)
        if near is None:
            return estimate
        # The same weights with another cache lose at least about what was measured of the weights.
        floors = {"low": near.low, "value": near.measured, "high": near.high}
        return estimate.model_copy(update={end: max(getattr(estimate, end), at) for end, at in floors.items()})
    low, high = min(found.low, found.measured), max(found.high, found.measured)
    return Estimate(
        value=found.measured,
        low=low,
        high=high,
        unit="relative",
        evidence=Evidence.MEASURED,
        source="measured by this agent",
    )
