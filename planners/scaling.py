"""Load on a deployment in, how many replicas it should have out: pure, and slow to change its mind.

Replicas wanted is demand (requests that wait or are served) over what one replica may be asked for. Demand is smoothed
and foretold for the moment when a new replica would be ready, by Holt's double exponential smoothing (1957) with
weights for unequal steps of time; what has gone again meanwhile does not count. Up takes a few looks that agree, since
people wait; down takes a long calm, and goes one at a time; in between nothing happens. Two replicas can look calm
under a load that one cannot bear: a replica that is missed soon after it left makes the calm four times as long that
the next one must show. Nothing leads beyond `most`.
"""

import math

from schemas.scaling import Demand, Load, ScalingDecision, ScalingRule, ScalingState

STEEPEST = 3.0
"""Growth that is believed: this many times today's demand beyond today's, at the most."""
PATIENT, MOST_PATIENT = 4.0, 16.0
"""How many times longer a calm must be after each replica that was missed, and at the most."""
ROUNDING = 1e-9
"""Demand that fills replicas exactly asks for no further one."""


def most_replicas(budget_monthly: float | None, replica_monthly: float | None, machine: int) -> int:
    """Replicas that the machine holds and the budget pays (US dollars a month), at least one."""
    if budget_monthly is None or not replica_monthly:
        return max(1, machine)
    return max(1, min(machine, int(budget_monthly // replica_monthly)))


def decide(load: Load, state: ScalingState, rule: ScalingRule) -> ScalingDecision:
    """One look. The same looks give the same decisions."""
    there = load.queued + load.open_requests
    demand = smoothed(load, state.demand, rule)
    busy = _ahead(min(demand.level, there), demand.slope, rule)
    wanted = min(rule.most, max(rule.fewest, math.ceil(busy / (load.slots * rule.target) - ROUNDING)))
    short = state.short + 1 if wanted > state.replicas else 0
    calm = state.replicas > rule.fewest and load.queued == 0 and _fits(max(busy, there), load, state, rule)
    since = (load.at_s if state.calm_since_s is None else state.calm_since_s) if calm else None
    rested = load.at_s - state.changed_s
    kept = state.model_copy(update={"demand": demand, "short": short, "calm_since_s": since})
    hold = rule.down_hold_s * state.patience
    if state.replicas > rule.most:
        return _to(rule.most, f"no more than {rule.most} are allowed", load, kept)
    if short >= rule.up_looks and rested >= rule.up_cooldown_s:
        foretold = f"{demand.level:.1f} smoothed, {busy:.1f} expected in {rule.ready_s:g} s"
        missed = load.at_s - state.left_s < hold
        patience = min(MOST_PATIENT, PATIENT * state.patience) if missed else 1.0
        kept = kept.model_copy(update={"patience": patience})
        return _to(wanted, f"{there} requests there ({load.queued} waiting), {foretold}", load, kept)
    if since is not None and load.at_s - since >= hold and rested >= hold:
        kept = kept.model_copy(update={"left_s": load.at_s})
        why = f"calm for {load.at_s - since:.0f} s: {busy:.1f} requests would leave one replica fewer idle enough"
        return _to(state.replicas - 1, why, load, kept)
    return ScalingDecision(replicas=state.replicas, why="", state=kept)


def smoothed(load: Load, before: Demand | None, rule: ScalingRule) -> Demand:
    """Holt's level and slope after one more look."""
    seen = float(load.queued + load.open_requests)
    if before is None:
        return Demand(at_s=load.at_s, level=seen)
    step = load.at_s - before.at_s
    if step <= 0:
        return before
    new, newer = 1 - math.exp(-step / rule.smooth_s), 1 - math.exp(-step / rule.trend_s)
    level = max(0.0, new * seen + (1 - new) * (before.level + before.slope * step))
    slope = newer * (level - before.level) / step + (1 - newer) * before.slope
    return Demand(at_s=load.at_s, level=level, slope=slope)


def _ahead(level: float, slope: float, rule: ScalingRule) -> float:
    """Requests when a new replica would be ready; never fewer than today's, nor more than `STEEPEST` allows."""
    return level + min(max(0.0, slope * rule.ready_s), STEEPEST * level)


def _fits(busy: float, load: Load, state: ScalingState, rule: ScalingRule) -> bool:
    """Whether one replica fewer would still be idle enough; the gap from `low` to `target` keeps it from swinging."""
    return busy <= (state.replicas - 1) * load.slots * rule.low


def _to(replicas: int, why: str, load: Load, state: ScalingState) -> ScalingDecision:
    rested = {"replicas": replicas, "changed_s": load.at_s, "calm_since_s": None, "short": 0}
    return ScalingDecision(replicas=replicas, why=why, state=state.model_copy(update=rested))
