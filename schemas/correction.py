"""What this agent measured, as later plans use it: a figure, under which traffic, and how far the planner was off."""

from typing import Self

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from schemas.base import Record
from schemas.plan import PlannedWorkload, Strategy

LOSS = "quality_loss"
AT_ANY_RATE = frozenset({"throughput_rps", "output_tokens_s", LOSS})
"""Metrics that do not depend on how many requests come a second."""


class OperatingPoint(Record):
    """The load a figure holds for. Tokens per request; requests per second, or so many always open where that is 0."""

    input_tokens: PositiveInt
    output_tokens: PositiveInt
    request_rate: NonNegativeFloat
    concurrency: NonNegativeInt
    """0 where a rate is given: it follows from the rate."""

    @classmethod
    def of(cls, workload: PlannedWorkload) -> Self:
        """The traffic of a plan."""
        return cls(
            input_tokens=workload.input_tokens,
            output_tokens=workload.output_tokens,
            request_rate=workload.request_rate,
            concurrency=0 if workload.request_rate else workload.concurrency,
        )

    def tells(self, metric: str, other: "OperatingPoint") -> bool:
        """Whether a figure measured here is that of the other too."""
        tokens = (self.input_tokens, self.output_tokens) == (other.input_tokens, other.output_tokens)
        return tokens and (metric in AT_ANY_RATE or self == other)


class Correction(Record):
    """One metric of one strategy as measured; `low` and `high` bound it.

    `log_ratio` is the natural logarithm of measured over what the planner says by itself, without any correction.
    """

    strategy: Strategy
    metric: str
    measured: float
    low: float
    high: float
    log_ratio: float
    at: OperatingPoint | None
    """None for a loss: it holds under any traffic."""


class Memory(Record):
    """What one machine measured of one model."""

    planner: str
    """The fitted figures that the ratios were taken from: those of others say nothing."""
    corrections: tuple[Correction, ...] = ()
