"""What was measured near a case, over what is expected there: kriging of what a fit of the physics left over.

A Gaussian process (Rasmussen and Williams 2006, chapter 2) over the logarithms by which an engine was slower than the
physics says. Two places are the more alike the nearer their prompts, answers, open requests and tensor-parallel ranks
(logarithms), most of all for one model on one accelerator, a little for one of the two; engines tell nothing of each
other. Where nothing near was measured, nothing changes. `benchmarks/neighbours.py` weighs the published rows.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import IntEnum
from functools import cache
from typing import Self
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from planners.performance.calibration import subject_of
from planners.performance.published import Condition, Metric, Regime
from planners.tables import table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PAIR, MODEL, ACCELERATOR = 0.3, 0.2, 0.1
"""Standard deviations of lags that one model on one accelerator shares, a model wherever it runs, an accelerator."""
_NEAR = np.array([1.0, 1.5, 1.5, 1.5])
_FAR = np.array([2.0, 2.5, 2.5, 2.5])
"""Over which logarithms of ranks, prompt, answer and open requests these change. Chosen, as all constants here, on
held-out pairs and conditions, where half and twice as much do little."""
_OTHER = 0.7
"""How alike places are that differ in variant, format, regime (or its limit) or percentile, for each of these."""
_COUSINS = 0.8
"""How alike two speeds of one run are: a step's and a rate's, a prompt's and an idle server's first token."""


class Speed(IntEnum):
    """What is measured: each tells of itself and, in part, of its cousins."""

    FIRST = 0
    PREFILL = 1
    LOADED = 2
    STEP = 3
    DECODE = 4
    RATE = 5


_FAMILIES = ((Speed.FIRST, Speed.PREFILL), (Speed.LOADED,), (Speed.STEP, Speed.DECODE, Speed.RATE))
FAMILY = {speed: number for number, family in enumerate(_FAMILIES) for speed in family}
_ALIKE = np.array([[1.0 if a is b else _COUSINS * (FAMILY[a] == FAMILY[b]) for b in Speed] for a in Speed])
_SPEEDS = {Metric.PREFILL: Speed.PREFILL, Metric.TPOT: Speed.STEP, Metric.DECODE: Speed.DECODE}
_TOGETHER = 1000
_SETTLED = frozenset({Regime.STATIC, Regime.LOOP})


@dataclass(frozen=True)
class Places:
    """Where measurements lie; names are checksums, arrays of shape (rows,), (rows, 4) for the last two."""

    engine: Ints
    model: Ints
    accelerator: Ints
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
        case.weight_format,
        case.regime.value,
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
        return Speed.LOADED if case.regime in {Regime.LOOP, Regime.POISSON} else Speed.FIRST
    return _SPEEDS.get(case.metric, Speed.RATE)


@dataclass(frozen=True)
class Heard:
    """What neighbours say; arrays of one shape."""

    lag: Floats
    """Logarithm by which engines were slower nearby than expected."""
    company: Floats
    """How near the published rows of the same model and accelerator are: 0 for none, towards 1 for many."""

    @classmethod
    def nothing(cls, shape: tuple[int, ...]) -> Self:
        """What is heard where nobody is near."""
        return cls(np.zeros(shape), np.zeros(shape))


@dataclass(frozen=True)
class Neighbours:
    """Measured places, and what each weighs in the lags of others."""

    places: Places
    weights: Floats

    def hear(self, at: Places) -> Heard:
        """What is known at each of `at`, shape (rows,)."""
        heard = Heard.nothing(at.engine.shape)
        for where in _alike_rows(at):
            asked, (rows, weights) = at.pick(where), self._kin(at, where[0])
            covariance, near = likeness(asked, rows)
            heard.lag[where], heard.company[where] = covariance @ weights, _crowd(near.sum(axis=1))
        return heard

    def hear_around(self, at: Places, opened: Floats, speeds: tuple[Speed, ...]) -> dict[Speed, Heard]:
        """The same for servers in a closed loop of each of `opened` requests, shape (rows, opened), by speed."""
        shape = (at.engine.size, opened.size)
        found, asked = {speed: Heard.nothing(shape) for speed in speeds}, np.array(speeds, np.int64)
        for where in _alike_rows(at):
            rows, weights = self._kin(at, where[0])
            if not weights.size:
                continue
            pair, part = _kinship(at.pick(where), rows)
            near, far = (_opened(np.log(opened), rows, scale).T[:, None, :] for scale in (_NEAR, _FAR))
            alike = _cousins(asked, np.ones(asked.size, np.bool_), rows).T[:, :, None]
            weighed = alike * weights[:, None, None]
            lag = PAIR**2 * _summed(pair, weighed * near) + _summed(part, weighed * far)
            company = _crowd(_summed(pair, alike * near))
            for column, speed in enumerate(speeds):
                found[speed].lag[where], found[speed].company[where] = lag[:, column], company[:, column]
        return found

    def _kin(self, at: Places, row: int) -> tuple[Places, Floats]:
        """The rows of one engine that share a model or an accelerator with a row of `at`."""
        places = self.places
        same = (places.model == at.model[row]) | (places.accelerator == at.accelerator[row])
        rows = np.flatnonzero(same & (places.engine == at.engine[row]))
        return places.pick(rows), self.weights[rows]


def likeness(at: Places, rows: Places) -> tuple[Floats, Floats]:
    """Covariances of lags between places, and how near pairs of one model on one accelerator are; (at, rows) each.

    Places of different engines are not told apart: ask for one engine at a time.
    """
    pair, part = _kinship(at, rows)
    cousins = _cousins(at.speed, at.settled, rows)
    near = cousins * pair * _opened(at.logs[:, 3], rows, _NEAR)
    far = cousins * part * _opened(at.logs[:, 3], rows, _FAR)
    return PAIR**2 * near + far, near


def _kinship(at: Places, rows: Places) -> tuple[Floats, Floats]:
    """Whatever the load: how alike servers are as pairs, and the covariance of models' and accelerators' own lags."""
    differ = (at.ways[:, None, :] != rows.ways[None]).sum(axis=2)
    model, accelerator = (getattr(at, name)[:, None] == getattr(rows, name)[None] for name in ("model", "accelerator"))
    apart = at.logs[:, None, :3] - rows.logs[None, :, :3]
    near, far = (np.exp(-0.5 * ((apart / scale[:3]) ** 2).sum(axis=2)) for scale in (_NEAR, _FAR))
    alike = _OTHER**differ
    return alike * near * (model & accelerator), alike * far * (MODEL**2 * model + ACCELERATOR**2 * accelerator)


def _opened(logs: Floats, rows: Places, scale: Floats) -> Floats:
    """How alike numbers of open requests are, (logs, rows)."""
    found: Floats = np.exp(-0.5 * ((logs[:, None] - rows.logs[None, :, 3]) / scale[3]) ** 2)
    return found


def _cousins(speed: Ints, settled: NDArray[np.bool_], rows: Places) -> Floats:
    """How much speeds tell of each other, (speeds, rows)."""
    own = speed[:, None] == rows.speed[None]
    return np.where(own, 1.0, _ALIKE[speed[:, None], rows.speed[None]] * (settled[:, None] & rows.settled[None]))


def _summed(servers: Floats, load: Floats) -> Floats:
    """Over rows: (servers, rows) and (rows, speeds, opened) to (servers, speeds, opened)."""
    return np.tensordot(servers, load, axes=1)


def _crowd(near: Floats) -> Floats:
    return near / (near + 1)


def _alike_rows(at: Places) -> list[Ints]:
    """Rows by engine, model and accelerator, `_TOGETHER` at the most."""
    names = np.stack([at.engine, at.model, at.accelerator], axis=1)
    _, group = np.unique(names, axis=0, return_inverse=True)
    order = np.argsort(group, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if order.size else []
    return [part for rows in groups for part in np.array_split(rows, math.ceil(rows.size / _TOGETHER))]


def _code(name: str) -> int:
    return crc32(name.encode())


@cache
def neighbours(*, silicon: bool = False) -> Neighbours:
    """The shipped rows, weighed beside the physics alone or beside what joins it with measured kernels."""
    column = "silicon" if silicon else "physics"
    kept = [row for row in table("neighbours") if row[column]]
    return Neighbours(Places.named(_read(row) for row in kept), np.array([float(row[column]) for row in kept]))


def _read(row: dict[str, str]) -> Named:
    limit, tp, prompt, answer, opened = (float(row[name]) for name in ("limit", "tp", "input", "output", "open"))
    words = {field.name: row[field.name] for field in fields(Named) if field.type is str}
    return Named(**words, limit=limit, tp=tp, input=prompt, output=answer, open=opened)
