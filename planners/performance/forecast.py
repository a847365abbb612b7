"""Conditions of published rows in, predictions with intervals out, from the best source that knows each."""

import math
from dataclasses import dataclass

from planners.performance.calibration import calibration
from planners.performance.observe import Observations
from planners.performance.published import Condition, kind_of
from planners.performance.silicon import expected_by_kernels
from schemas.evidence import Estimate, Evidence

_Z = 1.645
_UNKNOWN_ENGINE = 1.5
"""How much wider the spread is for an engine that no fitted row had; from holding whole sources out."""


@dataclass(frozen=True)
class Sources:
    """Which sources may answer."""

    silicon: bool = True


def forecast(cases: list[Condition], sources: Sources | None = None) -> list[Estimate]:
    """What each of `cases` should measure, in its metric's unit."""
    if not cases:
        return []
    allowed = sources or Sources()
    values = Observations.of(cases).expected(calibration())
    kernels = expected_by_kernels(cases, values) if allowed.silicon else [None] * len(cases)
    return [_estimate(*row) for row in zip(cases, values.tolist(), kernels, strict=True)]


def _estimate(case: Condition, physics: float, kernels: float | None) -> Estimate:
    evidence = Evidence.CALIBRATED if kernels is None else Evidence.SILICON
    sd = spread_of(case, evidence)
    if case.model.family == "assumed":
        evidence, sd = Evidence.ASSUMED, math.hypot(sd, 0.15)
    value = physics if kernels is None else kernels
    source = "planners/data/performance.json" if kernels is None else "aiconfigurator-core"
    return Estimate(
        value=value,
        low=value * math.exp(-_Z * sd),
        high=value * math.exp(_Z * sd),
        unit="ms" if kind_of(case).startswith("t") and "throughput" not in kind_of(case) else "per second",
        evidence=evidence,
        source=source,
    )


def spread_of(case: Condition, evidence: Evidence) -> float:
    """Standard deviation of the logarithm: of the class and engine, wider where the engine was never seen."""
    known = calibration()
    kind, engine = kind_of(case), case.engine.partition("/")[0]
    if evidence is Evidence.SILICON and f"silicon|{kind}" in known.spread:
        return known.spread[f"silicon|{kind}"]
    found = known.spread.get(f"{kind}|{engine}")
    return found if found is not None else known.spread[kind] * _UNKNOWN_ENGINE
