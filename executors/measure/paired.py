"""Sides against each other: endpoints under load in, rounds of the same level on each in turn out, and what pairs say.

Rounds alternate in order, so that a machine that warms up, or others that share it, favour nobody.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np

from executors.measure.load import LoadGenerator, run_level
from executors.measure.statistics import ALPHA, student
from executors.serve.engine import Endpoint
from schemas.evidence import Estimate, Evidence
from schemas.measurement import LevelSpec, LoadLevel

FEWEST = 3
"""Rounds below which a spread says too little."""

OnRound = Callable[[int, int, LoadLevel], Awaitable[None]]
"""Called with the round, the side's place and its level."""


async def interleaved(
    sides: Sequence[tuple[Endpoint, LoadGenerator]],
    level: LevelSpec,
    *,
    rounds: int,
    rows: Path,
    on_round: OnRound,
) -> list[list[LoadLevel]]:
    """`rounds` times the same level on each side, the others idle meanwhile: levels by side, then round.

    One uncounted round comes first. A side is an endpoint and what puts load on it.
    """
    found: list[list[LoadLevel]] = [[] for _ in sides]
    rows.unlink(missing_ok=True)
    for number in range(rounds + 1):
        order = list(range(len(sides)))
        for place in order if number % 2 else reversed(order):
            done = await run_level(*sides[place], level, seed=number, rows=rows)
            if number:
                found[place].append(done)
                await on_round(number, place, done)
    return found


def paired_ratio(first: Sequence[float], other: Sequence[float], source: str) -> Estimate:
    """`other` over `first`, paired: the geometric mean with Student's interval of the logarithms of the ratios.

    Raises:
        ValueError: for fewer than `FEWEST` pairs or a value that is not positive.
    """
    if len(first) < FEWEST or min(*first, *other) <= 0:
        raise ValueError(f"{len(first)} pairs say too little, or one is not positive")
    logs = np.log(np.asarray(other) / np.asarray(first))
    half = student(logs.size - 1, ALPHA) * float(logs.std(ddof=1)) / math.sqrt(logs.size)
    low, value, high = (math.exp(float(logs.mean()) + shift) for shift in (-half, 0.0, half))
    return Estimate(
        value=value, low=low, high=high, unit="ratio", evidence=Evidence.MEASURED, source=f"{source}, n={logs.size}"
    )
