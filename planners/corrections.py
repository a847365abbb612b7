"""What this agent measured so far in, shifts of later predictions out; a measured strategy shows its own figures."""

import hashlib
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from schemas.correction import LOSS, Correction, OperatingPoint
from schemas.plan import Strategy
from schemas.report import Comparison

NEAR_SHARE = 0.5
"""How much of a measured error carries over to another format on the same engine and accelerator."""
NEAR_LOG_SD_SHARE, SAME_LOG_SD_SHARE = 0.7, 0.35
"""How much of the spread is left once another format, or the same one in another layout, was measured."""


OWN_FORM = frozenset({"llama.cpp", "mlc-llm", "onnxruntime", "openvino", "ctranslate2"})
"""Engines that quantize in a form that no other loads: an INT8 of one says nothing of another's."""


@cache
def planner_version() -> str:
    """What tells the fitted figures of one version from another's: ratios to one say nothing of the other."""
    data = files("planners").joinpath("data")
    names = ("performance.json", "neighbours.csv", "quality.json")
    fitted = b"".join(data.joinpath(name).read_bytes() for name in names)
    return hashlib.sha256(fitted).hexdigest()[:12]


@dataclass(frozen=True)
class Shift:
    """What to do to a prediction: add `log_shift` to its logarithm, scale its spread."""

    log_shift: float = 0.0
    spread: float = 1.0


@dataclass(frozen=True)
class Corrections:
    """Measurements in the order they were made."""

    measurements: tuple[Correction, ...] = ()

    def with_measurement(self, strategy: Strategy, pair: Comparison, at: OperatingPoint | None) -> "Corrections":
        """These and one more.

        `pair` holds what a plan made with these corrections said, and what came out under the traffic `at`.
        """
        metric = pair.metric
        at = None if metric == LOSS else at
        old = self.exact(strategy, metric, at)
        shift = self.shift(strategy.engine, strategy.accelerator, strategy.weight_format, metric)
        applied = old.log_ratio if old else shift.log_shift
        predicted, measured = pair.predicted.value, pair.measured.value
        # A loss may be negative; it is replaced where measured, never shifted.
        positive = measured > 0 and predicted > 0
        new = Correction(
            strategy=strategy,
            metric=metric,
            measured=measured,
            low=pair.measured.low,
            high=pair.measured.high,
            log_ratio=math.log(measured / predicted) + applied if positive else 0.0,
            at=at,
        )
        kept = tuple(one for one in self.measurements if (one.strategy, one.metric, one.at) != (strategy, metric, at))
        return Corrections((*kept, new))

    def exact(self, strategy: Strategy, metric: str, at: OperatingPoint | None) -> Correction | None:
        """The newest measurement of this very strategy that holds for the traffic `at`, if there is one."""
        return next(
            (m for m in reversed(self.measurements) if m.metric == metric and m.strategy == strategy and _tells(m, at)),
            None,
        )

    def quality(
        self, engine: str, weight_format: str, kv_format: str | None, *, importance_matrix: bool
    ) -> Correction | None:
        """The newest measured loss of these formats, whatever the layout; of any KV format where none is named.

        A loss of an engine's own form holds for that engine; one of safetensors for every engine that reads them.
        """
        return next(
            (
                m
                for m in reversed(self.measurements)
                if m.metric == LOSS
                and (m.strategy.engine == engine or not OWN_FORM & {m.strategy.engine, engine})
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


def _tells(known: Correction, at: OperatingPoint | None) -> bool:
    """Whether a measurement holds for the traffic `at`."""
    return known.at is None or (at is not None and known.at.tells(known.metric, at))
