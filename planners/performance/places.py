"""A measurement's conditions in, where it lies among others out: names as checksums, sizes as logarithms."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Self
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from planners.performance.calibration import subject_of
from planners.performance.published import Condition, Metric, Regime, kind_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Speed(IntEnum):
    """What is measured: each tells of itself and, in part, of its cousins."""

    FIRST = 0
    PREFILL = 1
    LOADED = 2
    STEP = 3
    DECODE = 4
    RATE = 5
    TUNED = 6
    """First tokens of a server at a suite's limits: those of closed loops tell nothing of them."""


_FAMILIES = ((Speed.FIRST, Speed.PREFILL), (Speed.LOADED,), (Speed.TUNED,), (Speed.STEP, Speed.DECODE, Speed.RATE))
FAMILY = {speed: number for number, family in enumerate(_FAMILIES) for speed in family}
_SPEEDS = {Metric.PREFILL: Speed.PREFILL, Metric.TPOT: Speed.STEP, Metric.DECODE: Speed.DECODE}
_ALIKE = {Regime.STEP: Regime.LOOP}
"""What the physics tells apart so well that neighbours need not."""
_SETTLED = frozenset({Regime.STATIC, Regime.LOOP})


@dataclass(frozen=True)
class Places:
    """Where measurements lie; names are checksums, arrays of shape (rows,), (rows, 4) for the last two."""

    engine: Ints
    model: Ints
    accelerator: Ints
    family: Ints
    speed: Ints
    settled: NDArray[np.bool_]
    """Whether the load is the row's own: speeds tell of their cousins only then."""
    ways: Ints
    """Variant, format, regime with its limit, and percentile."""
    logs: Floats
    """Of tensor-parallel ranks, prompt and answer tokens, open requests (0 where as many as fit)."""

    @classmethod
    def of(cls, cases: list[Condition]) -> Self:
        """The places of `cases`."""
        return cls.named(named(case) for case in cases)

    @classmethod
    def named(cls, rows: "Iterable[Named]") -> Self:
        """The places of rows as the data file spells them."""
        kept = list(rows)

        def codes(name: str) -> Ints:
            return np.array([_code(getattr(row, name)) for row in kept], np.int64)

        return cls(
            engine=codes("engine"),
            model=codes("model"),
            accelerator=codes("accelerator"),
            family=codes("family"),
            speed=np.array([Speed[row.speed] for row in kept], np.int64),
            settled=np.array([Regime(row.regime) in _SETTLED for row in kept]),
            ways=np.array([[_code(part) for part in row.ways()] for row in kept], np.int64).reshape(-1, 4),
            logs=np.log(np.array([row.sizes() for row in kept]).reshape(-1, 4)),
        )

    def pick(self, rows: Ints | NDArray[np.bool_]) -> Self:
        """The places of some rows."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class Named:
    """A place in words, one row of `neighbours.csv`; tokens per request."""

    engine: str
    variant: str
    model: str
    accelerator: str
    family: str
    weight_format: str
    regime: str
    limit: float
    """Seconds that a suite allows a token under Poisson arrivals; else 0."""
    percentile: str
    speed: str
    tp: float
    input: float
    output: float
    open: float

    def ways(self) -> tuple[str, ...]:
        """What makes a place less alike where it differs."""
        return self.variant, self.weight_format, f"{self.regime} {self.limit:g}", self.percentile

    def sizes(self) -> tuple[float, ...]:
        """What places are near or far by; a request of no answer counts as one of half a token."""
        return max(self.tp, 1.0), max(self.input, 0.5), max(self.output, 0.5), max(self.open, 1.0)


def named(case: Condition) -> Named:
    """The place of one measurement, in words."""
    who = subject_of(case.model, case.engine, case.accelerator, case.weight_format)
    return Named(
        who.engine,
        who.variant,
        who.model,
        who.accelerator,
        who.family,
        case.weight_format,
        _ALIKE.get(case.regime, case.regime).value,
        case.limit_tpot if case.regime is Regime.POISSON else 0.0,
        "p99" if case.tail else "p50",
        speed_of(case).name,
        case.tp,
        case.length,
        case.output,
        case.batch,
    )


def sign_of(case: Condition) -> float:
    """1 for a time, which grows as an engine gets slower; -1 for a rate."""
    return 1.0 if case.metric in {Metric.TTFT, Metric.TPOT} else -1.0


def speed_of(case: Condition) -> Speed:
    """What a row measures."""
    if case.metric is Metric.TTFT:
        loaded = Speed.TUNED if case.regime is Regime.POISSON else Speed.LOADED
        return loaded if kind_of(case) == "ttft-loaded" else Speed.FIRST
    return _SPEEDS.get(case.metric, Speed.RATE)


def _code(name: str) -> int:
    return crc32(name.encode())
