"""What this agent measured so far in, shifts of later predictions out; a measured strategy shows its own figures."""

import math
from dataclasses import dataclass

from schemas.plan import Strategy

NEAR_SHARE = 0.5
"""How much of a measured error carries over to another format on the same engine and accelerator."""
NEAR_LOG_SD_SHARE, SAME_LOG_SD_SHARE = 0.7, 0.35
"""How much of the spread is left once another format, or the same one in another layout, was measured."""


@dataclass(frozen=True)
class Measurement:
    """One metric of one strategy as measured; `low` and `high` bound it.

    `log_ratio` is the natural logarithm of measured over what the planner says by itself, without any correction.
    """

    strategy: Strategy
    metric: str
    measured: float
    low: float
    high: float
    log_ratio: float


@dataclass(frozen=True)
class Shift:
    """What to do to a prediction: add `log_shift` to its logarithm, scale its spread."""

    log_shift: float = 0.0
    spread: float = 1.0


@dataclass(frozen=True)
class Corrections:
    """Measurements in the order they were made."""

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
        """These and one more.

        `metric` is a field of `Prediction`, `predicted` its value in a plan made with these corrections, `low` and
        `high` the measurement's interval where known.
        """
        old = self.exact(strategy, metric)
        shift = self.shift(strategy.engine, strategy.accelerator, strategy.weight_format, metric)
        applied = old.log_ratio if old else shift.log_shift
        # A loss may be negative; it is replaced where measured, never shifted.
        positive = measured > 0 and predicted > 0
        new = Measurement(
            strategy=strategy,
            metric=metric,
            measured=measured,
            low=measured if low is None else low,
            high=measured if high is None else high,
            log_ratio=math.log(measured / predicted) + applied if positive else 0.0,
        )
        kept = tuple(one for one in self.measurements if (one.strategy, one.metric) != (strategy, metric))
        return Corrections((*kept, new))

    def exact(self, strategy: Strategy, metric: str) -> Measurement | None:
        """The measurement of this very strategy, if there is one."""
        return next((m for m in self.measurements if m.metric == metric and m.strategy == strategy), None)

    def quality(self, weight_format: str, kv_format: str | None, *, importance_matrix: bool) -> Measurement | None:
        """The newest measured loss of these formats, whatever the layout; of any KV format where none is named."""
        return next(
            (
                m
                for m in reversed(self.measurements)
                if m.metric == "quality_loss"
                and (m.strategy.weight_format, m.strategy.importance_matrix) == (weight_format, importance_matrix)
                and kv_format in {None, m.strategy.kv_format}
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
            return Shift(sum(same) / len(same), SAME_LOG_SD_SHARE)
        if near:
            return Shift(NEAR_SHARE * sum(m.log_ratio for m in near) / len(near), NEAR_LOG_SD_SHARE)
        return Shift()
