"""An infeasible search in, for each limit the nearest value that would do out; each found by really solving for it."""

import math
from dataclasses import replace

import numpy as np

from planners.candidates import Searched, strategy_at
from planners.choose import score
from planners.joint import jointly, rate_name, towards_feasible
from planners.judge import Limit
from planners.prices import cheapest
from planners.search import Facts, again, search, within_fixed_limits
from schemas.command import OptimizeInference
from schemas.hardware import Pool
from schemas.plan import Relaxation
from schemas.quantity import HOURS_PER_MONTH

_HALVINGS = 10
_LEAST_SHARE = 1e-3
_GROWTH = (2, 4, 8)
_MAX_POOLS = 4
_QUALITY, _WORST_LOSS = "max_quality_loss", 0.25
"""A model that loses more than this does another job: no relaxation suggests it."""


def relaxations_of(request: OptimizeInference, facts: Facts, searched: Searched) -> tuple[Relaxation, ...]:
    """The nearest value of each limit at which some candidate meets them all, the other limits kept.

    Where no single limit is enough, the smallest common factor by which several must give way together.
    """
    found = [_by_value(searched, limit) for limit in searched.judged.limits if limit.name != "throughput"]
    found = [item for item in found if item is None or item.limit != _QUALITY or item.needed <= _WORST_LOSS]
    if searched.traffic.rate > 0:
        found.append(_by_rate(request, facts, searched))
    elif throughput := next((limit for limit in searched.judged.limits if limit.name == "throughput"), None):
        found.append(_by_value(searched, throughput))
    alone = tuple(item for item in found if item is not None)
    more = _by_hardware(request, facts)
    return (*(alone or jointly(request, facts, searched)), *((more,) if more else ()))


def _by_value(searched: Searched, limit: Limit) -> Relaxation | None:
    """The best figure among candidates that meet all other limits."""
    allowed = searched.judged.all_but(limit.name)
    if not allowed.any():
        return None
    sign = -1.0 if limit.at_least else 1.0
    values = np.where(allowed, sign * np.broadcast_to(limit.values, allowed.shape), np.inf)
    if not np.isfinite(values.min()):
        return None
    # Of the candidates that share the best figure, name the one that would be chosen.
    tied = values <= values.min()
    scores = np.where(tied, score(searched.space, searched.judged, searched.traffic), np.inf)
    return Relaxation(
        limit=limit.name,
        asked=limit.asked,
        needed=towards_feasible(float(sign * values.min()), at_least=limit.at_least),
        unit=limit.unit,
        strategy=strategy_at(searched, int(np.argmin(scores))).label,
    )


def _by_rate(request: OptimizeInference, facts: Facts, searched: Searched) -> Relaxation | None:
    """The highest rate of arrivals at which everything else is met, by bisection over the same candidates."""
    small = within_fixed_limits(searched)
    asked = searched.traffic.rate
    low, high = asked * _LEAST_SHARE, asked
    best = again(request, small, facts.prices, low)
    if not best.judged.met.any():
        return None
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        tried = again(request, small, facts.prices, middle)
        if tried.judged.met.any():
            low, best = middle, tried
        else:
            high = middle
    rate = towards_feasible(low, at_least=True)
    best = again(request, small, facts.prices, rate)
    if not best.judged.met.any():
        return None
    scores = np.where(best.judged.met, score(best.space, best.judged, best.traffic), np.inf)
    return Relaxation(
        limit=rate_name(request),
        asked=asked,
        needed=rate,
        unit="requests/s",
        strategy=strategy_at(best, int(np.argmin(scores))).label,
    )


def _by_hardware(request: OptimizeInference, facts: Facts) -> Relaxation | None:
    """The smallest multiple of the pools with which every limit is met, the budget too."""
    if facts.on_host or len(facts.pools) > _MAX_POOLS or not _affordable(request, facts):
        return None
    for factor in _GROWTH:
        pools = tuple(Pool(accelerator=pool.accelerator, count=pool.count * factor) for pool in facts.pools)
        found, _ = search(request, replace(facts, pools=pools))
        if found.judged.met.any():
            scores = np.where(found.judged.met, score(found.space, found.judged, found.traffic), np.inf)
            strategy = strategy_at(found, int(np.argmin(scores)))
            return Relaxation(
                limit="hardware",
                asked=float(facts.pools[0].count),
                needed=float(pools[0].count),
                unit=f"x {strategy.accelerator}",
                strategy=strategy.label,
            )
    return None


def _affordable(request: OptimizeInference, facts: Facts) -> bool:
    """Whether the budget has room for one accelerator more than some pool has."""
    asked = request.constraints
    if asked.budget_monthly is None:
        return True
    rents = [
        cheapest(
            facts.prices.select(pool.accelerator.key, asked.price_kind, asked.providers, asked.regions),
            1,
            pool.count + 1,
        )
        for pool in facts.pools
    ]
    return any(rent and rent.usd_per_hour * HOURS_PER_MONTH <= asked.budget_monthly for rent in rents)
