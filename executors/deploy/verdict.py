"""A step's requests in, a judgement on each metric out: the gate's own confidence sequence, over shares of requests.

A p95 is within its limit where at most 5 % of the requests take longer: so latency, errors and goodput are all means
of zeros and ones. The sequence holds at all sample sizes at once, so each new request may be looked at. Requests are
taken as independent; where a burst makes neighbours alike the verdict comes sooner than its confidence warrants, and
the sooner verdict is the one that goes back to the old release.
"""

import math
from collections.abc import Sequence

import numpy as np

from executors.measure.gate import boundary, confidence_sequence
from schemas.base import Record
from schemas.command import VersusSpec
from schemas.deployment import JudgedMetric, Judgement
from schemas.evidence import Estimate, Evidence
from schemas.measurement import GateVerdict
from schemas.traffic import RequestSeen

SLOW = 0.05
"""Share of requests that may exceed the p95."""
FIRST_LOOK = 5
"""Requests before the first verdict."""


class Limits(Record):
    """What the new release is held to."""

    latency_ms: float
    """At the gateway, queue included; 95 % of the requests keep to it."""
    max_errors: float
    confidence: float
    tuned: int
    """Number of requests at which the verdict is sharpest; it holds at every other too."""


def judge(rows: Sequence[RequestSeen], limits: Limits) -> tuple[Judgement, ...]:
    """Latency, errors and goodput of what the new release served; nothing before `FIRST_LOOK` requests."""
    if len(rows) < FIRST_LOOK:
        return ()
    slow = [not row.failed and row.total_ms > limits.latency_ms for row in rows]
    failed = [row.failed for row in rows]
    bad = [one or other for one, other in zip(slow, failed, strict=True)]
    ms = f"{limits.latency_ms:.0f} ms"
    return (
        _share(JudgedMetric.LATENCY, slow, SLOW, f"took longer than {ms}", limits),
        _share(JudgedMetric.ERRORS, failed, limits.max_errors, "failed", limits),
        _share(JudgedMetric.GOODPUT, bad, SLOW + limits.max_errors, f"failed or took longer than {ms}", limits),
    )


def interval(samples: Sequence[float], limit: float, confidence: float, tuned: int) -> tuple[float, float, float]:
    """Mean, low and high of a share held against `limit`, all between 0 and 1.

    The deviation is at least the one that a share of exactly `limit` would have: with a few samples that are all alike
    the sample's own is zero, and zero would claim certainty.
    """
    values = np.asarray(samples, float)
    found = confidence_sequence(values, 1 - confidence, tuned, np.arange(values.size))
    deviation = max(found.deviation, math.sqrt(limit * (1 - limit)))
    half = deviation * boundary(values.size, 1 - confidence, tuned)
    return found.mean, max(0.0, found.mean - half), min(1.0, found.mean + half)


def effect(
    old: Sequence[RequestSeen], new: Sequence[RequestSeen], spec: VersusSpec, limits: Limits
) -> Judgement | None:
    """The relative difference of latency, geometric means, by a sequence for each release; None before the first look.

    `passed` is faster by more than the smallest effect that matters, `failed` that it is not: slower, or no difference.
    """
    logs = [np.log([max(row.total_ms, 1.0) for row in rows if not row.failed]) for rows in (old, new)]
    if min(log.size for log in logs) < FIRST_LOOK:
        return None
    alpha = (1 - limits.confidence) / len(logs)
    before, after = (confidence_sequence(log, alpha, limits.tuned, np.arange(log.size)) for log in logs)
    value = math.expm1(after.mean - before.mean)
    low, high = math.expm1(after.low - before.high), math.expm1(after.high - before.low)
    verdict, words = GateVerdict.UNDECIDED, "undecided"
    if high <= -spec.min_effect:
        verdict, words = GateVerdict.PASSED, "faster"
    elif low >= -spec.min_effect:
        verdict = GateVerdict.FAILED
        words = "slower" if low > 0 else "not faster by enough to matter"
    said = f"latency {value:+.1%} against the old release ({limits.confidence:.0%} interval {low:+.1%} to {high:+.1%})"
    source = f"gateway, n={logs[0].size} and {logs[1].size}"
    return Judgement(
        metric=JudgedMetric.EFFECT,
        verdict=verdict,
        measured=Estimate(value=value, low=low, high=high, unit="relative", evidence=Evidence.MEASURED, source=source),
        limit=-spec.min_effect,
        samples=int(logs[1].size),
        sentence=f"{said}: {words}, where {spec.min_effect:.1%} matter",
    )


def breach(judgements: Sequence[Judgement]) -> Judgement | None:
    """The first metric that is beyond its limit for sure."""
    return next((item for item in judgements if item.verdict is GateVerdict.FAILED), None)


def _share(metric: JudgedMetric, bad: Sequence[bool], limit: float, what: str, limits: Limits) -> Judgement:
    mean, low, high = interval(bad, limit, limits.confidence, limits.tuned)
    verdict = GateVerdict.UNDECIDED
    if low > limit:
        verdict = GateVerdict.FAILED
    elif high <= limit:
        verdict = GateVerdict.PASSED
    words = f"{sum(bad)} of {len(bad)} requests {what}"
    return Judgement(
        metric=metric,
        verdict=verdict,
        measured=Estimate(
            value=mean, low=low, high=high, unit="share", evidence=Evidence.MEASURED, source=f"gateway, n={len(bad)}"
        ),
        limit=limit,
        samples=len(bad),
        sentence=f"{words} ({limits.confidence:.0%} interval {low:.1%} to {high:.1%}, at most {limit:.1%} allowed)",
    )
