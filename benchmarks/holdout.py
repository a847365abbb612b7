"""Rows in, errors of fits that never saw them out: sources, models, accelerators or pairs are held out in turn."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.fit import fit
from benchmarks.rows import Row
from planners.performance.kernels import Kernels
from planners.performance.observe import Observations, subject

Floats = NDArray[np.float64]

ROUNDS = 10
FOLDS = 5
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


def held_out(rows: list[Row], by: str, kernels: Kernels | None = None) -> Iterator[Miss]:
    """Each row with how far a fit missed it that saw nothing of its group.

    Groups are dealt into folds in the order of their names; each source is a fold of its own.
    """
    key = KEYS[by]
    names = sorted({key(row) for row in rows})
    folds = len(names) if by == "source" else FOLDS
    place = {name: i % folds for i, name in enumerate(names)}
    for fold in range(folds):
        held = np.array([i for i, row in enumerate(rows) if place[key(row)] == fold], dtype=np.intp)
        seen = np.array([i for i, row in enumerate(rows) if place[key(row)] != fold], dtype=np.intp)
        if not held.size or not seen.size:
            continue
        known = fit([rows[i] for i in seen], ROUNDS, kernels.pick(seen) if kernels else None)
        cases = [rows[i].case for i in held]
        expected = Observations.of(cases, kernels.pick(held) if kernels else None).expected(known)
        for i, value in zip(held, expected, strict=True):
            row = rows[i]
            yield Miss(row, float(np.log(value / row.value)), known.new(row.case.model.name, subject(row.case)))
