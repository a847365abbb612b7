"""An infeasible search in, limits that must give way together out: by the smallest factor common to all of them."""

import math

import numpy as np

from planners.candidates import Searched, strategy_at
from planners.choose import score
from planners.search import Facts, again, within_fixed_limits, without_guesses
from schemas.command import OptimizeInference
from schemas.plan import Relaxation

_HALVINGS = 12
_MOST = 1e3
_NOTHING: frozenset[str] = frozenset()
_MONEY, _QUALITY = frozenset({"budget_monthly"}), frozenset({"max_quality_loss"})
_TIMES = ("latency_p50", "latency_p95", "latency_p99", "ttft_p50", "ttft_p95", "ttft_p99", "tpot_p50", "tpot_p95")


def jointly(request: OptimizeInference, facts: Facts, searched: Searched) -> tuple[Relaxation, ...]:
    """Times and rates first; where those are not enough, the budget too, quality last; nothing if even that is no help.

    What is named stands on no guessed tokens, whose acceptance is assumed.
    """
    kept, all_of_them = without_guesses(within_fixed_limits(searched)), without_guesses(searched)
    for also, candidates in ((_NOTHING, kept), (_MONEY, all_of_them), (_MONEY | _QUALITY, all_of_them)):
        found = _smallest_factor(request, facts, candidates, also=also)
        if found is not None:
            return _named(request, searched, found)
    return ()


def _smallest_factor(
    request: OptimizeInference, facts: Facts, searched: Searched, *, also: frozenset[str]
) -> Searched | None:
    """The search under limits loosened by the smallest factor at which some candidate meets them all."""

    def loosened(factor: float) -> Searched:
        asked = _scaled(request, factor, also=also)
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


def _scaled(request: OptimizeInference, factor: float, *, also: frozenset[str]) -> OptimizeInference:
    """The request with its times longer and its rates lower by `factor`, and the constraints named in `also` larger."""
    targets = request.targets
    changed: dict[str, float] = {
        name: getattr(targets, name) * factor for name in _TIMES if getattr(targets, name) is not None
    }
    changed |= {
        name: getattr(targets, name) / factor
        for name in ("throughput", "throughput_tokens")
        if getattr(targets, name) is not None
    }
    limits = request.constraints
    larger = {name: asked * factor for name in also if (asked := getattr(limits, name)) is not None}
    return request.model_copy(
        update={
            "targets": targets.model_copy(update=changed),
            "constraints": limits.model_copy(update=larger),
        }
    )


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
