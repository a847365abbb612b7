"""What was measured near a case, over what is expected there: kriging of what a fit of the physics left over.

A Gaussian process (Rasmussen and Williams 2006, chapter 2) over the logarithms by which an engine was slower than the
physics says. Two places are the more alike the nearer their prompts, answers, open requests and tensor-parallel ranks
(logarithms), most of all for one model on one accelerator, a little for one of the two; engines tell nothing of each
other. Where nothing near was measured, nothing changes. `benchmarks/neighbours.py` weighs the published rows.
"""

import math
from dataclasses import dataclass, fields
from functools import cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from planners.performance.places import FAMILY, Named, Places, Speed
from planners.tables import table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PAIR, SIBLINGS, MODEL, ACCELERATOR = 0.25, 0.2, 0.2, 0.1
"""Standard deviations of lags that one model on one accelerator shares, a model on a family of accelerators (H100 and
H200), a model wherever it runs, an accelerator."""
_NEAR = np.array([1.0, 1.5, 1.5, 1.5])
_FAR = np.array([2.0, 2.5, 2.5, 2.5])
"""Over which logarithms of ranks, prompt, answer and open requests these change. Chosen, as all constants here, on
held-out pairs and conditions, where half and twice as much do little."""
_OTHER = 0.7
"""How alike places are that differ in variant, format, regime (or its limit) or percentile, for each of these."""
_COUSINS, _DISTANT = 0.8, 0.1
"""What of a lag a speed shares with the others of its family (a step's with a rate's, a prompt's with an idle server's
first token) where the load is the row's own, and where memory or limits chose it; the rest is the speed's own."""
_FAMILY = np.array([FAMILY[speed] for speed in Speed])
_TOGETHER = 1000


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
            servers, which = _distinct(at.pick(where))
            pair, part = _kinship(servers, rows)
            near, far = (_opened(np.log(opened), rows, scale).T[:, None, :] for scale in (_NEAR, _FAR))
            alike = _cousins(asked, np.ones(asked.size, np.bool_), rows).T[:, :, None]
            weighed = alike * weights[:, None, None]
            lag = PAIR**2 * _summed(pair, weighed * near) + _summed(part, weighed * far)
            company = _crowd(_summed(pair, alike * near))
            for column, speed in enumerate(speeds):
                found[speed].lag[where], found[speed].company[where] = lag[which, column], company[which, column]
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
    """Whatever the load: how alike servers are as pairs, and the covariance of all that less than a pair shares."""
    differ = (at.ways[:, None, :] != rows.ways[None]).sum(axis=2)
    names = ("model", "accelerator", "family")
    model, accelerator, family = (getattr(at, name)[:, None] == getattr(rows, name)[None] for name in names)
    apart = at.logs[:, None, :3] - rows.logs[None, :, :3]
    near, far = (np.exp(-0.5 * ((apart / scale[:3]) ** 2).sum(axis=2)) for scale in (_NEAR, _FAR))
    alike = _OTHER**differ
    shared = model * (MODEL**2 + SIBLINGS**2 * family) + ACCELERATOR**2 * accelerator
    return alike * near * (model & accelerator), alike * far * shared


def _opened(logs: Floats, rows: Places, scale: Floats) -> Floats:
    """How alike numbers of open requests are, (logs, rows)."""
    found: Floats = np.exp(-0.5 * ((logs[:, None] - rows.logs[None, :, 3]) / scale[3]) ** 2)
    return found


def _cousins(speed: Ints, settled: NDArray[np.bool_], rows: Places) -> Floats:
    """How much speeds tell of each other, (speeds, rows): by what is their own, and what they share with a family."""
    own, family = speed[:, None] == rows.speed, _FAMILY[speed][:, None] == _FAMILY[rows.speed]
    shared, theirs = (np.where(each, _COUSINS, _DISTANT) for each in (settled, rows.settled))
    found: Floats = own * np.sqrt(np.outer(1 - shared, 1 - theirs)) + family * np.sqrt(np.outer(shared, theirs))
    return found


def _summed(servers: Floats, load: Floats) -> Floats:
    """Over rows: (servers, rows) and (rows, speeds, opened) to (servers, speeds, opened)."""
    return np.tensordot(servers, load, axes=1)


def _crowd(near: Floats) -> Floats:
    return near / (near + 1)


def _distinct(at: Places) -> tuple[Places, Ints]:
    """Servers of one engine, model and accelerator that differ, whatever the load, and which of them each row is."""
    differ = np.concatenate([at.ways, at.logs[:, :3]], axis=1)
    _, first, which = np.unique(differ, axis=0, return_index=True, return_inverse=True)
    return at.pick(first), which.ravel()


def _alike_rows(at: Places) -> list[Ints]:
    """Rows by engine, model and accelerator, `_TOGETHER` at the most."""
    names = np.stack([at.engine, at.model, at.accelerator], axis=1)
    _, group = np.unique(names, axis=0, return_inverse=True)
    order = np.argsort(group, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if order.size else []
    return [part for rows in groups for part in np.array_split(rows, math.ceil(rows.size / _TOGETHER))]


@cache
def neighbours() -> Neighbours:
    """The shipped rows and their weights."""
    rows = table("neighbours")
    return Neighbours(Places.named(_read(row) for row in rows), np.array([float(row["weight"]) for row in rows]))


def _read(row: dict[str, str]) -> Named:
    limit, tp, prompt, answer, opened = (float(row[name]) for name in ("limit", "tp", "input", "output", "open"))
    words = {field.name: row[field.name] for field in fields(Named) if field.type is str}
    return Named(**words, limit=limit, tp=tp, input=prompt, output=answer, open=opened)
