"""Numbers that say where they come from: value, 90 % interval, unit, evidence class, source."""

from enum import StrEnum
from typing import Self

from pydantic import model_validator

from schemas.base import Record


class Evidence(StrEnum):
    """Where a number comes from, best first."""

    MEASURED = "measured"
    """Measured by this agent, under the conditions its record states."""
    SILICON = "silicon"
    """Read from a database of measured kernels."""
    CALIBRATED = "calibrated"
    """From a model fitted to published measurements."""
    ASSUMED = "assumed"
    """A stated assumption or a nominal figure."""


class Estimate(Record):
    """One number with its 90 % interval and its provenance.

    `low` and `high` bound the interval in the unit of `value`; for a measurement they are its confidence interval,
    or equal `value` where one observation is all there is.
    """

    value: float
    low: float
    high: float
    unit: str
    evidence: Evidence
    source: str = ""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"interval [{self.low}, {self.high}] does not hold {self.value}")
        return self
