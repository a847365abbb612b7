"""Tables of measured kernels' times, a row each, and how to read between their points. Unknown rows are NaN."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

POINTS = np.unique(np.rint(np.geomspace(1, 8192, 27)))
"""Sequences of a step at which kernels are asked."""


@dataclass(frozen=True)
class Kernels:
    """Seconds by row. `steps` (rows, points) by sequences of a step; the others (rows,)."""

    steps: Floats
    prompt: Floats
    """One prompt alone."""
    more: Floats
    """Each further prompt in the same pass."""

    @classmethod
    def unknown(cls, rows: int) -> Self:
        """A table that knows nothing."""
        return cls(np.full((rows, POINTS.size), np.nan), np.full(rows, np.nan), np.full(rows, np.nan))

    def step(self, sequences: Floats) -> Floats:
        """Seconds of a step of `sequences` (rows,), between points and in proportion beyond the last."""
        at = np.clip(sequences, 1.0, None)
        right = np.clip(np.searchsorted(POINTS, at), 1, POINTS.size - 1)
        places = np.arange(len(right))
        low, high = self.steps[places, right - 1], self.steps[places, right]
        share = (at - POINTS[right - 1]) / (POINTS[right] - POINTS[right - 1])
        found: Floats = low + share * (high - low)
        return found

    def prefill(self, prompts: Floats) -> Floats:
        """Seconds of a pass over `prompts` prompts."""
        return self.prompt + np.maximum(prompts - 1.0, 0.0) * self.more

    def pick(self, rows: Rows) -> Self:
        """Some of the rows."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))
