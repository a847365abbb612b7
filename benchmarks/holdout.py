"""Rows in, errors of fits that never saw them out: sources, models, accelerators, pairs or conditions in turn."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from benchmarks.fit import fit
from benchmarks.neighbours import lags, weigh
from benchmarks.rows import Row
from planners.performance.calibration import Calibration, build_of, share
from planners.performance.kernels import Kernels
from planners.performance.observe import Observations, subject
from planners.performance.places import Places, sign_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FOLDS = 8
SAME = "conditions"
"""The way that leaves rows of the same model and accelerator in the fit: all but those of the very same conditions."""


def _conditions(row: Row) -> tuple[object, ...]:
    """All that a run is under, whoever measured what of it."""
    case = row.case
    server = (build_of(case.model), case.accelerator.key, case.engine, case.weight_format, case.kv_format, case.threads)
    load = (case.length, case.output, case.beams, case.batch, case.regime.value, case.limit_ttft, case.limit_tpot)
    return (*server, case.tp, case.pp, case.replicas, *load)


KEYS: dict[str, Callable[[Row], tuple[object, ...]]] = {
    SAME: _conditions,
    "pair": lambda row: (row.publisher, build_of(row.case.model), row.case.accelerator.key),
    "model": lambda row: (build_of(row.case.model),),
    "accelerator": lambda row: (row.case.accelerator.key,),
    "source": lambda row: (row.publisher,),
}


@dataclass(frozen=True)
class Fold:
    """What a fit made of all rows that did not see those `held`: logarithms of predicted over measured."""

    held: Ints
    errors: Floats
    known: Calibration


@dataclass(frozen=True)
class Miss:
    """A row that was held out, its error, what the fit had never seen of it, and how near others were."""

    row: Row
    error: float
    alone: float
    """The error before neighbours are heard."""
    new: list[str]
    company: float


def every_way(rows: list[Row], kernels: Kernels | None = None) -> dict[str, list[Fold]]:
    """The folds of each way to hold rows out."""
    return {by: folds(rows, by, kernels) for by in KEYS}


def folds(rows: list[Row], by: str, kernels: Kernels | None = None) -> list[Fold]:
    """One fold for each eighth of the groups.

    Groups are dealt by a checksum of their names, so that new rows do not deal the others anew.
    """
    places = np.array([crc32(" ".join(map(str, KEYS[by](row))).encode()) % FOLDS for row in rows])
    observed = Observations.of([row.case for row in rows], kernels)
    measured = np.array([row.value for row in rows])
    found = []
    for fold in range(FOLDS):
        seen = np.flatnonzero(places != fold)
        known = fit([rows[i] for i in seen], kernels.pick(seen) if kernels else None)
        found.append(Fold(np.flatnonzero(places == fold), np.log(observed.expected(known) / measured), known))
    return found


def misses(rows: list[Row], folds: list[Fold]) -> list[Miss]:
    """Each row by the fold that held it out, after what the neighbours that the fold saw say of it."""
    places = Places.of([row.case for row in rows])
    signs = np.array([sign_of(row.case) for row in rows])
    found = {}
    for fold in folds:
        seen = np.setdiff1d(np.arange(len(rows)), fold.held)
        near = weigh(places.pick(seen), lags(rows, fold.errors)[seen])
        heard = near.hear(places.pick(fold.held))
        errors = fold.errors[fold.held] + signs[fold.held] * heard.lag
        columns = (errors, fold.errors[fold.held], heard.company)
        for i, error, alone, company in zip(fold.held.tolist(), *(column.tolist() for column in columns), strict=True):
            found[i] = Miss(rows[i], error, alone, fold.known.new(subject(rows[i].case)), company)
    return [found[i] for i in sorted(found)]


@dataclass(frozen=True)
class Joint:
    """Rows whose kernels are `known`, by their numbers among all; their folds, and what the physics missed of all."""

    known: Ints
    kernels: list[Fold]
    physics: list[Miss]

    def misses(self, shares: dict[str, float]) -> list[Miss]:
        """What predictions miss that join kernels and the physics: the less of the former, the more company."""
        found = {}
        for fold in self.kernels:
            for i in fold.held.tolist():
                plain = self.physics[self.known[i]]
                more = share(plain.row.kind, plain.new, shares) * (float(fold.errors[i]) - plain.alone)
                found[i] = replace(plain, error=plain.error + (1 - plain.company) * more, alone=plain.alone + more)
        return [found[i] for i in range(self.known.size)]

    def shares(self) -> dict[str, float]:
        """By class, the share of measured kernels with the smallest mean absolute miss, in tenths."""
        left: dict[str, list[float]] = defaultdict(list)
        tried = (np.arange(11) / 10).tolist()
        for part in tried:
            sizes: dict[str, list[float]] = defaultdict(list)
            for miss in self.misses(dict.fromkeys({miss.row.kind for miss in self.physics}, part)):
                sizes[miss.row.kind].append(abs(miss.error))
            for kind, found in sizes.items():
                left[kind].append(fmean(found))
        return {kind: tried[int(np.argmin(found))] for kind, found in sorted(left.items())}
