"""Conditions of published rows in, predictions with intervals out, from the best source that knows each."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planners.performance.calibration import calibration, joined, on_kernels, share_of_kernels
from planners.performance.kernels import Kernels
from planners.performance.nearby import neighbours
from planners.performance.observe import Observations, subject
from planners.performance.places import Places, sign_of
from planners.performance.published import Condition, Metric, kind_of
from planners.performance.silicon import available, kernels_of
from schemas.evidence import Estimate, Evidence

Floats = NDArray[np.float64]

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
    values, heard = Observations.of(cases).expected(calibration()), neighbours().hear(Places.of(cases))
    known = np.zeros(len(cases), dtype=bool)
    if available() and (sources or Sources()).silicon:
        kernels = kernels_of(cases)
        known = ~np.isnan(kernels.prompt)
        values = with_kernels(cases, kernels, values, heard.company)
    values = values * np.exp(np.array([sign_of(case) for case in cases]) * heard.lag)
    columns = (values.tolist(), known.tolist(), heard.company.tolist())
    return [_estimate(*row) for row in zip(cases, *columns, strict=True)]


def with_kernels(cases: list[Condition], kernels: Kernels, physics: Floats, company: Floats) -> Floats:
    """What `physics` expects of `cases`, joined with measured kernels where they are known: in no company the most."""
    found = Observations.of(cases, kernels).expected(calibration(silicon=True))
    share = np.array([share_of_kernels(kind_of(case), subject(case)) for case in cases])
    return np.where(np.isnan(kernels.prompt), physics, joined(physics, found, share * (1 - company)))


def _estimate(case: Condition, value: float, known: bool, company: float) -> Estimate:  # noqa: FBT001 - a column
    evidence = Evidence.SILICON if known and on_kernels(np.array(company)) else Evidence.CALIBRATED
    sd = spread_of(case, silicon=known, company=company)
    if case.model.family == "assumed":
        evidence, sd = Evidence.ASSUMED, math.hypot(sd, _ASSUMED_SD)
    return Estimate(
        value=value,
        low=value * math.exp(-_Z * sd),
        high=value * math.exp(_Z * sd),
        unit="ms" if case.metric in {Metric.TTFT, Metric.TPOT} else "per second",
        evidence=evidence,
        source=f"{'aiconfigurator-core' if known else 'planners/data/performance.json'} and neighbours.csv",
    )


def spread_of(case: Condition, *, silicon: bool = False, company: float = 0.0) -> float:
    """Standard deviation of the logarithm: of the class and engine, wider for what no fitted row had."""
    known, who = calibration(silicon=silicon), subject(case)
    return known.deviation(kind_of(case), who.engine, known.new(who), company, case.regime.value)
