"""Rows in, errors of models that never saw them out: whole sources, models, accelerators or pairs are held out in turn."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.fit import fit
from benchmarks.rows import Row
from planners.performance.observe import Observations

Floats = NDArray[np.float64]

ROUNDS = 12
FOLDS = 6
KEYS: dict[str, Callable[[Row], tuple[str, ...]]] = {
    "pair": lambda row: (row.publisher, row.case.model.name, row.case.accelerator.key),
    "model": lambda row: (row.case.model.name,),
    "accelerator": lambda row: (row.case.accelerator.key,),
    "source": lambda row: (row.publisher,),
}


def thinned(rows: list[Row]) -> list[Row]:
    """The rows with every fifth configuration of the loaded servers, which are many and alike."""
    return [row for row in rows if not row.source.startswith("silicon") or int(row.id[1:]) // 2 % 5 == 0]


def held_out(rows: list[Row], by: str) -> Iterator[tuple[Row, float]]:
    """Each row with the logarithm of predicted over measured by a fit that saw nothing of its group.

    Groups are dealt into folds in the order of their names; each source is a fold of its own.
    """
    key = KEYS[by]
    names = sorted({key(row) for row in rows})
    folds = len(names) if by == "source" else FOLDS
    place = {name: i % folds for i, name in enumerate(names)}
    for fold in range(folds):
        held = [row for row in rows if place[key(row)] == fold]
        known = fit([row for row in rows if place[key(row)] != fold], ROUNDS)
        expected = Observations.of([row.case for row in held]).expected(known)
        for row, value in zip(held, expected, strict=True):
            yield row, float(np.log(value / row.value))
