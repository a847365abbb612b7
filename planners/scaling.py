"""Load on a deployment in, how many replicas it should have out: pure, and slow to change its mind.

Replicas wanted is demand over what one replica may be asked for (Little's law: busy slots = arrivals x service time).
Demand is the larger of what is there now, with its queue, and what the trend of arrivals says of the moment when a new
replica would be ready. Up is quick, since people wait; down is slow, and one at a time; in between nothing happens.
"""

import math
from collections.abc import Sequence

import numpy as np

from schemas.scaling import Load, ScalingDecision, ScalingRule, ScalingState

STEEPEST = 3.0
"""A trend is followed to this many times today's load at the most, beyond today's."""
SURE = 2.0
"""Standard errors that a slope must be away from none: arrivals are noisy."""


def most_replicas(budget_monthly: float | None, replica_monthly: float | None, machine: int) -> int:
    """Replicas that the machine holds and the budget pays (US dollars a month), at least one."""
    if budget_monthly is None or not replica_monthly:
        return max(1, machine)
    return max(1, min(machine, int(budget_monthly // replica_monthly)))


def decide(load: Load, state: ScalingState, rule: ScalingRule) -> ScalingDecision:
    """One look. The same looks give the same decisions."""
    looks = tuple(look for look in (*state.looks, load) if look.at_s > load.at_s - rule.trend_s)
    demand, ahead = load.queued + load.open_requests, _ahead(looks, rule)
    busy = max(float(demand), ahead)
    wanted = min(rule.most, max(rule.fewest, math.ceil(busy / (rule.slots * rule.target))))
    calm = state.replicas > rule.fewest and load.queued == 0 and _fits(busy, state.replicas - 1, rule)
    since = (load.at_s if state.calm_since_s is None else state.calm_since_s) if calm else None
    rested = load.at_s - state.changed_s
    kept = state.model_copy(update={"looks": looks, "calm_since_s": since})
    if wanted > state.replicas and rested >= rule.up_cooldown_s:
        why = f"{demand} requests there ({load.queued} waiting), {ahead:.1f} expected in {rule.ready_s:g} s"
        return _to(wanted, why, load, kept)
    if since is not None and load.at_s - since >= rule.down_hold_s and rested >= rule.down_hold_s:
        why = f"calm for {load.at_s - since:.0f} s: {busy:.1f} requests would leave one replica fewer idle enough"
        return _to(state.replicas - 1, why, load, kept)
    return ScalingDecision(replicas=state.replicas, why="", state=kept)


def _fits(busy: float, replicas: int, rule: ScalingRule) -> bool:
    """Whether so many replicas would still be idle enough; the gap from `low` to `target` keeps it from swinging."""
    return busy <= replicas * rule.slots * rule.low


def _to(replicas: int, why: str, load: Load, state: ScalingState) -> ScalingDecision:
    after = state.model_copy(update={"replicas": replicas, "changed_s": load.at_s, "calm_since_s": None})
    return ScalingDecision(replicas=replicas, why=why, state=after)


def _ahead(looks: Sequence[Load], rule: ScalingRule) -> float:
    """Busy slots when a new replica would be ready: today's, grown as arrivals grow; never less than today's.

    The slope of arrivals is that of the least squares over the looks, and counts only where it is `SURE`.
    """
    now = float(looks[-1].open_requests)
    times = np.array([look.at_s for look in looks])
    rates = np.array([look.arrivals_rps for look in looks])
    times -= times.mean()
    spread = float((times**2).sum())
    if times.size <= 2 or not spread or not rates.any():  # noqa: PLR2004 - two points are a line whatever they are
        return now
    slope = float((times * rates).sum()) / spread
    rest = rates - rates.mean() - slope * times
    error = math.sqrt(float((rest**2).sum()) / (times.size - 2) / spread)
    if slope <= SURE * error:
        return now
    return now * (1 + min(slope * rule.ready_s / float(rates.mean()), STEEPEST))
