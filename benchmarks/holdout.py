"""Rows in, errors of fits that never saw them out: sources, models, accelerators or pairs are held out in turn."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from benchmarks.fit import fit
from benchmarks.rows import Row
from planners.performance.calibration import share
from planners.performance.kernels import Kernels
from planners.performance.observe import Observations, subject

Floats = NDArray[np.float64]

FOLDS = 8
KEYS: dict[str, Callable[[Row], tuple[str, ...]]] = {
    "pair": lambda row: (row.publisher, row.case.model.name, row.case.accelerator.key),
    "model": lambda row: (row.case.model.name,),
    "accelerator": lambda row: (row.case.accelerator.key,),
    "source": lambda row: (row.publisher,),
}


@dataclass(frozen=True)
class Miss:
    """A row, the logarithm of predicted over measured, and what the fit had never seen of it."""

    row: Row
    error: float
    new: list[str]


def every_way(rows: list[Row], kernels: Kernels | None = None) -> dict[str, list[Miss]]:
    """Each row's misses by what was held out."""
    return {by: list(held_out(rows, by, kernels)) for by in KEYS}


def blended(kernels: list[Miss], physics: list[Miss], shares: dict[str, float]) -> list[Miss]:
    """Misses of predictions that join measured kernels' and the physics'."""
    plain = {miss.row.id: miss for miss in physics}
    found = []
    for miss in kernels:
        other = plain[miss.row.id]
        part = share(miss.row.kind, other.new, shares)
        found.append(replace(miss, error=part * miss.error + (1 - part) * other.error))
    return found


def shares(kernels: list[Miss], physics: list[Miss]) -> dict[str, float]:
    """By class, the share of measured kernels that leaves the smallest mean absolute miss; in twentieths."""
    found = {}
    for kind in sorted({miss.row.kind for miss in kernels}):
        own = [miss for miss in kernels if miss.row.kind == kind]
        tried = (np.arange(21) / 20).tolist()
        sizes = [np.mean([abs(miss.error) for miss in blended(own, physics, {kind: part})]) for part in tried]
        found[kind] = tried[int(np.argmin(sizes))]
    return found


def held_out(rows: list[Row], by: str, kernels: Kernels | None = None) -> Iterator[Miss]:
    """Each row with how far a fit missed it that saw nothing of its group.

    Groups are dealt into folds by a checksum of their names, so that new rows do not deal the others anew.
    """
    key = KEYS[by]
    places = np.array([crc32(" ".join(key(row)).encode()) % FOLDS for row in rows])
    for fold in range(FOLDS):
        held, seen = np.flatnonzero(places == fold), np.flatnonzero(places != fold)
        if not held.size or not seen.size:
            continue
        known = fit([rows[i] for i in seen], kernels.pick(seen) if kernels else None)
        cases = [rows[i].case for i in held]
        expected = Observations.of(cases, kernels.pick(held) if kernels else None).expected(known)
        for i, value in zip(held, expected, strict=True):
            row = rows[i]
            yield Miss(row, float(np.log(value / row.value)), known.new(subject(row.case)))
