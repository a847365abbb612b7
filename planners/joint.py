"""An infeasible search in, limits that must give way together out: by the smallest factor common to all of them."""

import math

import numpy as np

from planners.candidates import Searched, strategy_at
from planners.choose import score
from planners.search import Facts, again, within_fixed_limits
from schemas.command import OptimizeInference
from schemas.plan import Relaxation

_HALVINGS = 12
_MOST = 1e3
_TIMES = ("latency_p50", "latency_p95", "latency_p99", "ttft_p50", "ttft_p95", "ttft_p99", "tpot_p50", "tpot_p95")


def jointly(request: OptimizeInference, facts: Facts, searched: Searched) -> tuple[Relaxation, ...]:
    """Times and rates first; where those are not enough, quality and budget too; nothing where that is not either."""
    for everything, candidates in ((False, within_fixed_limits(searched)), (True, searched)):
        found = _smallest_factor(request, facts, candidates, everything=everything)
        if found is not None:
            return _named(request, searched, found)
    return ()


def _smallest_factor(
    request: OptimizeInference, facts: Facts, searched: Searched, *, everything: bool
) -> Searched | None:
    """The search under limits loosened by the smallest factor at which some candidate meets them all."""

    def loosened(factor: float) -> Searched:
        asked = _scaled(request, factor, everything=everything)
        return again(asked, searched, facts.prices, towards_feasible(searched.traffic.rate / factor, at_least=True))

    best = loosened(_MOST)
    if not best.judged.met.any():
        return None
    low, high = 1.0, _MOST
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        tried = loosened(middle)
        if tried.judged.met.any():
            high, best = middle, tried
        else:
            low = middle
    return best


def _named(request: OptimizeInference, searched: Searched, found: Searched) -> tuple[Relaxation, ...]:
    """The limits that the best candidate under the loosened ones would break as asked, each with its figure."""
    scores = np.where(found.judged.met, score(found.space, found.judged, found.traffic), np.inf)
    best = int(np.argmin(scores))
    cell, column = divmod(best, found.space.batches.size)
    label = strategy_at(found, best).label
    items = []
    if found.traffic.rate < searched.traffic.rate:
        items.append((rate_name(request), searched.traffic.rate, found.traffic.rate, "requests/s"))
    for before, after in zip(searched.judged.limits, found.judged.limits, strict=True):
        value = float(after.values[cell, column if after.values.shape[1] > 1 else 0])
        missed = value < before.asked if before.at_least else value > before.asked
        if missed and (before.name != "throughput" or searched.traffic.rate == 0.0):
            needed = towards_feasible(value, at_least=before.at_least)
            items.append((before.name, before.asked, needed, before.unit))
    return tuple(
        Relaxation(limit=name, asked=asked, needed=needed, unit=unit, strategy=label, jointly=len(items) > 1)
        for name, asked, needed, unit in items
    )


def _scaled(request: OptimizeInference, factor: float, *, everything: bool) -> OptimizeInference:
    """The request with its times longer and its rates lower by `factor`; with `everything`, loss and budget too."""
    targets = request.targets
    changed: dict[str, float] = {
        name: getattr(targets, name) * factor for name in _TIMES if getattr(targets, name) is not None
    }
    changed |= {
        name: getattr(targets, name) / factor
        for name in ("throughput", "throughput_tokens")
        if getattr(targets, name) is not None
    }
    update: dict[str, object] = {"targets": targets.model_copy(update=changed)}
    if everything:
        limits = request.constraints
        money = None if limits.budget_monthly is None else limits.budget_monthly * factor
        update["constraints"] = limits.model_copy(
            update={"max_quality_loss": limits.max_quality_loss * factor, "budget_monthly": money}
        )
    return request.model_copy(update=update)


def rate_name(request: OptimizeInference) -> str:
    """The field of the request that sets the rate of arrivals."""
    if request.targets.throughput and not request.workload.request_rate:
        return "throughput"
    return "request_rate"


def towards_feasible(value: float, *, at_least: bool) -> float:
    """Six significant digits, rounded to the side on which the request becomes feasible."""
    if value == 0.0:
        return 0.0
    scale = 10.0 ** (5 - math.floor(math.log10(abs(value))))
    return (math.floor(value * scale) if at_least else math.ceil(value * scale)) / scale
