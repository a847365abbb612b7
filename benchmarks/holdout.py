"""Rows in, errors of fits that never saw them out: sources, models, accelerators or pairs are held out in turn."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.fit import fit
from benchmarks.rows import Row
from planners.performance.kernels import Kernels
from planners.performance.observe import Observations

Floats = NDArray[np.float64]

ROUNDS = 10
FOLDS = 5
KEYS: dict[str, Callable[[Row], tuple[str, ...]]] = {
    "pair": lambda row: (row.publisher, row.case.model.name, row.case.accelerator.key),
    "model": lambda row: (row.case.model.name,),
    "accelerator": lambda row: (row.case.accelerator.key,),
    "source": lambda row: (row.publisher,),
}


def held_out(rows: list[Row], by: str, kernels: Kernels | None = None) -> Iterator[tuple[Row, float]]:
    """Each row with the logarithm of predicted over measured by a fit that saw nothing of its group.

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
            yield rows[i], float(np.log(value / rows[i].value))
