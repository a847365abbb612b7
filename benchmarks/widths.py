"""Held-out misses in, widths of intervals out: by class and engine, and by what of a row the fit had never seen."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from benchmarks.holdout import Miss
from planners.performance.calibration import Widths, narrowed

COVERED, Z = 0.9, 1.645
LEANS = 30.0
"""Rows of an engine that weigh as much as all of its class in the spread."""
KINDS = ("model", "engine", "family", "accelerator", "format")
SHARES = 50
"""Steps of what intervals may keep of their widths."""
FEW = 20
"""Rows of a class below which what is new widens it as it does all classes together, and of a class and regime below
which company narrows it as it does the class."""


def widths(apart: list[Miss], beside: list[Miss]) -> Widths:
    """The spread where nothing is new, and factors on it for each thing that is, from rows where it alone is.

    These come from the misses of rows `apart` from all of their pair; how much nearer predictions come with rows of
    the pair around from those `beside` them.
    """
    spread = _spread([miss for miss in apart if not miss.new])
    plain = Widths(spread, {}, {})
    wider: dict[str, dict[str, float]] = defaultdict(dict)
    for name in KINDS:
        only = [(miss, _ratio(miss, plain)) for miss in apart if miss.new == [name]]
        everywhere = _factor([ratio for _, ratio in only])
        for kind in sorted({miss.row.kind for miss in apart}):
            own = [ratio for miss, ratio in only if miss.row.kind == kind]
            wider[kind][name] = _factor(own) if len(own) >= FEW else everywhere
    company = defaultdict(list)
    for miss in beside:
        company[miss.row.kind].append(miss)
        company[f"{miss.row.kind}|{miss.row.case.regime.value}"].append(miss)
    closer = {name: _closer(found, plain) for name, found in sorted(company.items()) if len(found) >= FEW}
    return Widths(spread, dict(wider), closer)


def _closer(misses: list[Miss], plain: Widths) -> float:
    """The least share of its width that an interval keeps in the closest company, so that enough rows lie within."""
    own = [miss for miss in misses if not miss.new]
    ratios, company = np.array([_ratio(miss, plain) for miss in own]), np.array([miss.company for miss in own])
    for share in (np.arange(SHARES) / SHARES).tolist():
        if np.mean(ratios <= narrowed(share, company)) >= COVERED:
            return float(share)
    return 1.0


def _spread(misses: list[Miss]) -> dict[str, float]:
    """Standard deviations of logarithms by class, and by class and engine; one with few rows leans on its class."""
    found = {kind: _sd(errors) for kind, errors in _grouped((miss.row.kind, miss.error) for miss in misses).items()}
    by_engine = _grouped((f"{miss.row.kind}|{_engine(miss)}", miss.error) for miss in misses)
    for name, errors in by_engine.items():
        share = len(errors) / (len(errors) + LEANS)
        found[name] = share * _sd(errors) + (1 - share) * found[name.partition("|")[0]]
    return {name: round(value, 4) for name, value in sorted(found.items())}


def _ratio(miss: Miss, plain: Widths) -> float:
    """The miss in half intervals of its class and engine, as if nothing were new."""
    own = plain.spread[miss.row.kind]
    if "engine" not in miss.new:
        own = plain.spread.get(f"{miss.row.kind}|{_engine(miss)}", own)
    return abs(miss.error) / (Z * own)


def _factor(ratios: list[float]) -> float:
    return round(max(1.0, float(np.quantile(ratios, COVERED))), 3) if ratios else 1.0


def _sd(errors: list[float]) -> float:
    return float(np.quantile(np.abs(errors), COVERED)) / Z


def _engine(miss: Miss) -> str:
    return miss.row.case.engine.partition("/")[0]


def _grouped(pairs: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for name, value in pairs:
        found[name].append(value)
    return found
