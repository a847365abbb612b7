"""What this agent measured so far in, shifts of later predictions out; a measured strategy shows its own figures."""

import math
from dataclasses import dataclass

from schemas.plan import Strategy

NEAR_SHARE = 0.5
"""How much of a measured error carries over to another format on the same engine and accelerator."""
MEASURED_LOG_SD = 0.05
"""Repeats of one system scatter by a few percent."""
NEAR_LOG_SD_SHARE = 0.7


@dataclass(frozen=True)
class Measurement:
    """One metric of one strategy as predicted then and as measured; `low` and `high` bound the measurement."""

    strategy: Strategy
    metric: str
    predicted: float
    measured: float
    low: float
    high: float

    @property
    def log_ratio(self) -> float:
        """Natural logarithm of measured over predicted; 0 where either is not positive (a loss may be negative)."""
        if self.measured <= 0 or self.predicted <= 0:
            return 0.0
        return math.log(self.measured / self.predicted)


@dataclass(frozen=True)
class Shift:
    """What to do to a prediction: add `log_shift` to its logarithm, scale its spread; `exact` if that was measured."""

    log_shift: float = 0.0
    spread: float = 1.0
    exact: bool = False


@dataclass(frozen=True)
class Corrections:
    """Measurements in the order they were made. `predicted` comes from a plan made without any of them."""

    measurements: tuple[Measurement, ...] = ()

    def with_measurement(
        self,
        strategy: Strategy,
        metric: str,
        predicted: float,
        measured: float,
        *,
        low: float | None = None,
        high: float | None = None,
    ) -> "Corrections":
        """These and one more. `metric` is a field of `Prediction`; `low` and `high` its interval where known."""
        new = Measurement(
            strategy=strategy,
            metric=metric,
            predicted=predicted,
            measured=measured,
            low=measured if low is None else low,
            high=measured if high is None else high,
        )
        kept = tuple(old for old in self.measurements if (old.strategy, old.metric) != (strategy, metric))
        return Corrections((*kept, new))

    def exact(self, strategy: Strategy, metric: str) -> Measurement | None:
        """The measurement of this very strategy, if there is one."""
        return next((m for m in self.measurements if m.metric == metric and m.strategy == strategy), None)

    def quality(self, weight_format: str, kv_format: str, *, importance_matrix: bool) -> Measurement | None:
        """The newest measured loss of these formats: quality does not depend on the layout."""
        wanted = (weight_format, kv_format, importance_matrix)
        return next(
            (
                m
                for m in reversed(self.measurements)
                if m.metric == "quality_loss"
                and (m.strategy.weight_format, m.strategy.kv_format, m.strategy.importance_matrix) == wanted
            ),
            None,
        )

    def shift(self, engine: str, accelerator: str, weight_format: str, metric: str) -> Shift:
        """How predictions of one engine, accelerator and format move: wholly where measured, in part where near."""
        near = [
            m
            for m in self.measurements
            if m.metric == metric and m.strategy.engine == engine and m.strategy.accelerator == accelerator
        ]
        same = [m.log_ratio for m in near if m.strategy.weight_format == weight_format]
        if same:
            return Shift(sum(same) / len(same), NEAR_LOG_SD_SHARE / 2, exact=True)
        if near:
            return Shift(NEAR_SHARE * sum(m.log_ratio for m in near) / len(near), NEAR_LOG_SD_SHARE)
        return Shift()
