"""Samples in, estimates out: percentiles with bootstrap intervals, rates with those of batch means, all `measured`."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from schemas.evidence import Estimate, Evidence
from schemas.measurement import Percentiles

RESAMPLES = 400
BATCHES = 8
ALPHA = 0.10
"""Estimates carry 90 % intervals."""
INTERVAL = (5.0, 95.0)
"""Percentiles of the bootstrap distribution: a 90 % interval."""
SHORTEST_S = 1e-9
"""Of a span whose ends the clock does not tell apart."""


def percentiles(samples: Sequence[float], source: str) -> Percentiles | None:
    """p50, p95 and p99 of `samples` in milliseconds, by linear interpolation; None where there are none."""
    if not samples:
        return None
    p50, p95, p99 = (percentile(samples, share, "ms", source) for share in (50, 95, 99))
    return Percentiles(p50=p50, p95=p95, p99=p99)


def percentile(samples: Sequence[float], share: float, unit: str, source: str) -> Estimate:
    """The percentile `share` with its percentile-bootstrap interval (Efron 1979), seeded so that it repeats."""
    values = np.asarray(samples, float)
    draws = np.random.default_rng(0).choice(values, (RESAMPLES, values.size))
    low, high = np.percentile(np.percentile(draws, share, axis=1), INTERVAL)
    value = float(np.percentile(values, share))
    return Estimate(
        value=value,
        low=min(float(low), value),
        high=max(float(high), value),
        unit=unit,
        evidence=Evidence.MEASURED,
        source=f"{source}, n={values.size}",
    )


def student(freedom: int, alpha: float) -> float:
    """Student's t quantile, two-sided `alpha` (Abramowitz and Stegun 26.7.5, three terms)."""
    z = NormalDist().inv_cdf(1 - alpha / 2)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def rate(
    spans_s: Sequence[tuple[float, float]],
    weights: Sequence[float],
    window: tuple[float, float],
    unit: str,
    source: str,
) -> Estimate:
    """What `weights` add up to a second over `window`, seconds; the interval by the method of batch means.

    A weight counts by the share of its span, from when it was asked for until it was done, that lies in the window.
    Weights counted whole where they end are right only where ends are spread evenly: clients that send in step end in
    step, and a window with two such moments and one pause between them shows up to twice the rate.

    For the interval the window is cut into `BATCHES` equal parts; the rates of what ended in each are treated as
    independent (Law, Simulation Modeling and Analysis, 5th ed., section 9.5.3): valid for a process that is steady
    within the window, and wide for one that goes in waves.
    """
    begun, done = np.asarray(spans_s, float).reshape(-1, 2).T
    whole = np.asarray(weights, float)
    inside = np.minimum(done, window[1]) - np.maximum(begun, window[0])
    shares = np.clip(inside / np.maximum(done - begun, SHORTEST_S), 0.0, 1.0)
    width = (window[1] - window[0]) / BATCHES
    value = float(whole @ shares) / (width * BATCHES)
    sums, _ = np.histogram(done, bins=BATCHES, range=window, weights=whole)
    half = student(BATCHES - 1, ALPHA) * float(np.std(sums / width, ddof=1)) / math.sqrt(BATCHES)
    return Estimate(
        value=value,
        low=max(0.0, value - half),
        high=value + half,
        unit=unit,
        evidence=Evidence.MEASURED,
        source=f"{source}, n={np.count_nonzero(shares)}",
    )


def observed(value: float, unit: str, source: str) -> Estimate:
    """One observation: an estimate without width."""
    return Estimate(value=value, low=value, high=value, unit=unit, evidence=Evidence.MEASURED, source=source)
