"""Judged candidates in, the order of trial and the frontier out, as flat indices into (C, B)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planners.judge import Z90, Judged
from planners.space import Space
from planners.support import BUILT_AHEAD
from planners.workload import Traffic

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HOST_TRIALS = 6
ALTERNATIVES = 4
FRONTIER = 24

_PER_LOSS = 5.0
_PER_GUESS = 1.0
"""No latency alone earns a guess its place: it has to be needed for a limit, or to save rent."""
_PER_RISK = 2.0
_PER_MONEY = 20.0
_PER_CALIBRATION = 0.02
_PER_KV_FORMAT = 0.15
_PER_DOUBLING = 0.01
_PER_BUILD = 0.15
_BUILT_AHEAD = frozenset({("tensorrt-llm", name) for name in BUILT_AHEAD})
"""An engine that is compiled for one card and one limit of batch is no file that a server just loads."""
_HEADROOM = 1.3
_CALIBRATED = frozenset({"W8A8", "GPTQ-INT4", "AWQ-INT4", "NVFP4"})
_STANDING = frozenset({"max_quality_loss", "budget_monthly"})
_PER_DEVIATION = 0.02


_LIKELY_REFUSED = 0.75
"""Elsewhere than on this host, where every trial costs a machine, what the gate more likely refuses is left out."""


_NEAR = 1.5
"""Nor what misses a time or a rate by more than half."""


@dataclass(frozen=True)
class Choice:
    """Flat indices: `met` by their predictions, `possible` within their intervals, both best first."""

    met: tuple[int, ...]
    possible: tuple[int, ...]


def score(space: Space, judged: Judged, traffic: Traffic) -> Floats:
    """What to minimise, (C, B): money, time, rate, loss, oddity.

    Where a rate or a time is asked, a percent of the month's rent weighs as much as a fifth of latency, and throughput
    counts up to what is asked and some headroom; where neither is, what the work costs. What the quality gate may well
    refuse, a speed-up that rests on guessed tokens, a smaller cache, a calibration and settings off their default have
    to earn their place; needlessly many slots break ties.
    """
    latency = judged.latency
    most = traffic.rate * _HEADROOM if traffic.rate > 0 else np.inf
    rate = np.log(np.clip(latency.capacity, 1e-9, most))
    slow = np.zeros_like(rate) if traffic.batch_job else np.log(latency.latency_p95)
    loss = np.array([estimate.value for estimate in judged.quality])[space.group]
    prepared = [group.importance_matrix or group.weight_format in _CALIBRATED for group in space.groups]
    calibration = np.array(prepared, dtype=np.float64)[space.group]
    built = [(group.engine, group.weight_format) in _BUILT_AHEAD for group in space.groups]
    risk = _PER_RISK * _refusal_chance(space, judged)
    kv = np.array([group.kv_format != "FP16" for group in space.groups], dtype=np.float64)[space.group]
    settings = (space.scheduling > 0).astype(np.float64) + (space.chunked == 0)
    oddity = (
        _PER_LOSS * loss + _PER_GUESS * (space.speculation > 0) + _PER_CALIBRATION * calibration + _PER_KV_FORMAT * kv
    )
    oddity += _PER_DEVIATION * settings + risk + _PER_BUILD * np.array(built, dtype=np.float64)[space.group]
    oddity = oddity[:, None] + _PER_DOUBLING * np.log2(space.batches)
    dearest = float(np.nanmax(judged.monthly, initial=0.0))
    if dearest == 0.0:
        return np.asarray(slow - rate + oddity)
    # Unknown is not free where others have a price.
    money = np.log(np.maximum(np.nan_to_num(judged.monthly, nan=10 * dearest), 1e-9))
    asked = traffic.rate > 0 or any(limit.name not in _STANDING for limit in judged.limits)
    if not asked:
        return np.asarray(money + 0.1 * slow - 1.1 * rate + oddity)
    return np.asarray(_PER_MONEY * money + slow - rate + oddity)


def _refusal_chance(space: Space, judged: Judged) -> Floats:
    """The chance that the measured loss is beyond the limit, (C,): the logistic stand-in for the normal's tail."""
    limit = next(one.asked for one in judged.limits if one.name == "max_quality_loss")
    ends = np.array([(estimate.value, estimate.high) for estimate in judged.quality])
    sd = np.maximum((ends[:, 1] - ends[:, 0]) / Z90, 1e-6)
    return np.asarray((1 / (1 + np.exp(np.clip(1.702 * (limit - ends[:, 0]) / sd, -50, 50))))[space.group])


def choose(space: Space, judged: Judged, traffic: Traffic, *, host: bool) -> Choice:
    """The best of each weight format, best first; on this host, where all are measured, of each engine's formats."""
    scores = score(space, judged, traffic)
    met, possible = judged.met, judged.possible
    names = [f"{group.engine if host else ''} {group.weight_format}" for group in space.groups]
    most = HOST_TRIALS if host else ALTERNATIVES
    first = _best_of_each(scores, met, space, names)[:most]
    known = {names[int(space.group[flat // space.batches.size])] for flat in first}
    fresh = np.array([name not in known for name in names], dtype=np.bool_)[space.group][:, None]
    if not host:
        possible = possible & (_refusal_chance(space, judged) <= _LIKELY_REFUSED)[:, None] & _near(judged)
    second = _best_of_each(scores, possible & ~met & fresh, space, names)
    return Choice(met=first, possible=second[: max(most - len(first), 2)])


def _near(judged: Judged) -> NDArray[np.bool_]:
    """Where no time and no rate is predicted further beyond its limit than `_NEAR`, however wide its interval."""
    found = judged.runs
    for limit in judged.limits:
        if limit.name not in _STANDING:
            found = found & (
                (limit.values >= limit.asked / _NEAR) if limit.at_least else (limit.values <= limit.asked * _NEAR)
            )
    return found


def _best_of_each(scores: Floats, allowed: NDArray[np.bool_], space: Space, names: list[str]) -> tuple[int, ...]:
    """The best allowed candidate of each name, best first; ties go to the earlier one."""
    flat = np.flatnonzero(allowed)
    kinds = {name: number for number, name in enumerate(dict.fromkeys(names))}
    kind = np.array([kinds[name] for name in names], dtype=np.int64)[space.group[flat // space.batches.size]]
    value = scores.ravel()[flat]
    best = [
        places[np.argmin(value[places])] for number in kinds.values() if (places := np.flatnonzero(kind == number)).size
    ]
    return tuple(int(flat[at]) for at in sorted(best, key=lambda at: (value[at], at)))


def frontier(space: Space, judged: Judged) -> tuple[int, ...]:
    """Candidates that no other beats in loss, p95 latency, throughput and money at once, thinned evenly by latency."""
    plain = (space.speculation == 0) & (space.scheduling == 0) & (space.prefix == space.prefix.max(initial=0))
    flat = np.flatnonzero(judged.runs & plain[:, None])
    if flat.size == 0:
        return ()
    cell = flat // space.batches.size
    loss = np.array([estimate.value for estimate in judged.quality])[space.group[cell]]
    money = np.nan_to_num(judged.monthly, nan=0.0)[cell, 0]
    figures = np.stack(
        [loss, judged.latency.latency_p95.ravel()[flat], -judged.latency.capacity.ravel()[flat], money], axis=1
    )
    # Figures closer than two percent are alike to a reader; rounding them keeps the front short.
    rounded = np.sign(figures) * np.round(np.log1p(np.abs(figures) * [1e3, 1, 1, 1]) / 0.02)
    steps = (rounded - rounded.min(axis=0)).astype(np.int64)
    _, unique = np.unique(np.ravel_multi_index(tuple(steps.T), tuple(steps.max(axis=0) + 1)), return_index=True)
    kept = _undominated(rounded[unique])
    front = unique[kept]
    front = front[np.argsort(figures[front, 1], kind="stable")]
    picks = np.unique(np.linspace(0, front.size - 1, min(front.size, FRONTIER)).round().astype(np.int64))
    return tuple(int(flat[front[at]]) for at in picks)


def _undominated(points: Floats) -> Ints:
    """Rows of `points` (N, D) that no other row is at most equal to everywhere and below somewhere."""
    order = np.argsort(points.sum(axis=1), kind="stable")
    left = points[order]
    index = order
    found: list[int] = []
    while index.size:
        found.append(int(index[0]))
        beaten = (left >= left[0]).all(axis=1)
        left, index = left[~beaten], index[~beaten]
    return np.array(found, dtype=np.int64)
