"""Conditions of published rows in, predictions with intervals out, from the best source that knows each."""

import math
from dataclasses import dataclass

import numpy as np

from planners.performance.calibration import calibration
from planners.performance.observe import Observations, subject
from planners.performance.published import Condition, Metric, kind_of
from planners.performance.silicon import available, kernels_of
from schemas.evidence import Estimate, Evidence

_Z = 1.645
_ASSUMED_SD = 0.15
"""What guessing a model's shape from its size adds."""


@dataclass(frozen=True)
class Sources:
    """Which sources may answer."""

    silicon: bool = True


def forecast(cases: list[Condition], sources: Sources | None = None) -> list[Estimate]:
    """What each of `cases` should measure, in its metric's unit."""
    if not cases:
        return []
    values = Observations.of(cases).expected(calibration())
    known = np.zeros(len(cases), dtype=bool)
    if available() and (sources or Sources()).silicon:
        kernels = kernels_of(cases)
        known = ~np.isnan(kernels.prompt)
        values = np.where(known, Observations.of(cases, kernels).expected(calibration(silicon=True)), values)
    return [_estimate(*row) for row in zip(cases, values.tolist(), known.tolist(), strict=True)]


def _estimate(case: Condition, value: float, measured: bool) -> Estimate:  # noqa: FBT001 - a column of rows
    evidence = Evidence.SILICON if measured else Evidence.CALIBRATED
    sd = spread_of(case, silicon=measured)
    if case.model.family == "assumed":
        evidence, sd = Evidence.ASSUMED, math.hypot(sd, _ASSUMED_SD)
    return Estimate(
        value=value,
        low=value * math.exp(-_Z * sd),
        high=value * math.exp(_Z * sd),
        unit="ms" if case.metric in {Metric.TTFT, Metric.TPOT} else "per second",
        evidence=evidence,
        source="aiconfigurator-core" if measured else "planners/data/performance.json",
    )


def spread_of(case: Condition, *, silicon: bool = False) -> float:
    """Standard deviation of the logarithm: of the class and engine, wider for what no fitted row had."""
    known, who = calibration(silicon=silicon), subject(case)
    return known.deviation(kind_of(case), who.engine, known.new(case.model.name, who))
