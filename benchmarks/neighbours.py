"""Rows and what a fit left of them in; what each weighs in the lags of its neighbours out, and the file of them."""

import csv
from collections import defaultdict
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row
from planners.performance.nearby import Neighbours, likeness
from planners.performance.places import FAMILY, Named, Places, Speed, named, sign_of

Floats = NDArray[np.float64]

OUT = Path(__file__).parents[1] / "planners" / "data" / "neighbours.csv"
NOISE, SCATTER = 0.08, 0.2
"""Logarithmic standard deviations of a measurement around what its neighbours share, and of times where memory or
limits chose the load: every tenth first token of the same conditions lies two thirds apart there."""
_TIMES = (Speed.TUNED, Speed.STEP)
TOLERATED = 0.1
"""Deviation beyond which a row counts less and less: one submitter's slow server says little of the others'."""
TURNS = 8
FARTHEST = 1.0
"""Lags beyond this are taken for it."""


def lags(rows: list[Row], errors: Floats) -> Floats:
    """Logarithms by which engines were slower than predicted; errors are those of predicted over measured."""
    return -np.array([sign_of(row.case) for row in rows]) * errors


def weigh(places: Places, lags: Floats) -> Neighbours:
    """The Gaussian process that saw `lags` at `places`; outliers are weighed down in turns (Cauchy loss)."""
    weights = np.zeros(lags.size)
    families = np.array([FAMILY[Speed(speed)] for speed in places.speed])
    for engine, family in set(zip(places.engine.tolist(), families.tolist(), strict=True)):
        where = np.flatnonzero((places.engine == engine) & (families == family))
        own = places.pick(where)
        covariance, _ = likeness(own, own)
        noise = np.where(np.isin(own.speed, _TIMES) & ~own.settled, SCATTER, NOISE)
        seen, trust = np.clip(lags[where], -FARTHEST, FARTHEST), np.ones(where.size)
        for _ in range(TURNS):
            weights[where] = np.linalg.solve(covariance + np.diag(noise**2 / trust), seen)
            trust = 1 / (1 + ((seen - covariance @ weights[where]) / TOLERATED) ** 2)
    return Neighbours(places, weights)


def write(rows: list[Row], weights: Floats) -> None:
    """Write what each place weighs. Rows of one place are joined: what they weigh adds up."""
    found: dict[Named, float] = defaultdict(float)
    for row, weight in zip(rows, weights.tolist(), strict=True):
        found[named(row.case)] += weight
    with OUT.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow([*(field.name for field in fields(Named)), "weight"])
        for place in sorted(found, key=astuple):
            sizes = (f"{value:g}" if isinstance(value, float) else value for value in astuple(place))
            out.writerow([*sizes, f"{found[place]:.4g}"])
