"""A layout's physics in, the two step times that a simulation of arrivals asks for thousands of times out."""

from bisect import bisect_left
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from planners.performance.around import around
from planners.performance.sources import Layout, bench_of
from schemas.model import ModelFacts

Floats = NDArray[np.float64]

_POINTS = 24


def step_functions(
    model: ModelFacts, layout: Layout, row: int = 0
) -> tuple[Callable[[float], float], Callable[[float, float], float]]:
    """Seconds of a pass by its prompt tokens, and of a decoding step by sequences and mean context, for one row.

    Both are read between points of tables: passes by tokens, steps by sequences at two contexts, in which they are
    linear.
    """
    one = slice(row, row + 1)
    arrays = {
        name: np.repeat(getattr(layout, name)[one], _POINTS) for name in ("tp", "pp", "batched_tokens", "threads")
    }
    tokens = np.unique(np.rint(np.geomspace(1, max(int(layout.batched_tokens[row]), 2), _POINTS)))
    batches = np.unique(np.rint(np.geomspace(1, max(int(layout.batch[row]), 2), _POINTS)))
    bench = bench_of(model, Layout(**(vars(layout) | arrays | {"batch": arrays["tp"]})))

    def padded(points: Floats) -> Floats:
        return np.concatenate([points, np.full(_POINTS - points.size, points[-1])])

    near = around(
        model, Layout(**(vars(layout) | {name: array[:1] for name, array in arrays.items()} | {"batch": batches}))
    )
    passes = (near.prompt.slower[0] * bench.prefill(np.ones(_POINTS), padded(tokens))[: tokens.size]).tolist()
    far = float(layout.input_tokens + layout.output_tokens)
    slower = near.step.slower[0]
    near_steps, far_steps = (
        (slower * bench.step(padded(batches), np.full(_POINTS, context))[: batches.size]).tolist()
        for context in (0.0, far)
    )
    token_points, batch_points = tokens.tolist(), batches.tolist()

    def prefill(count: float) -> float:
        return _between(token_points, passes, count)

    def decode(batch: float, context: float) -> float:
        near, distant = _between(batch_points, near_steps, batch), _between(batch_points, far_steps, batch)
        return near + (distant - near) * context / far

    return prefill, decode


def _between(points: list[float], values: list[float], at: float) -> float:
    """The value at `at`, linear between points and beyond the last."""
    right = min(max(bisect_left(points, at), 1), len(points) - 1)
    left = right - 1
    share = max(at - points[left], 0.0) / (points[right] - points[left])
    return values[left] + share * (values[right] - values[left])
