"""What a plan said beside what came out, for tests."""

from schemas.evidence import Estimate, Evidence
from schemas.report import Comparison


def pair(metric: str, predicted: float, measured: float, width: float = 0.0) -> Comparison:
    """`measured` with an interval of `width` to both sides, against a plain prediction."""
    said = Estimate(value=predicted, low=predicted, high=predicted, unit="", evidence=Evidence.CALIBRATED)
    low, high = measured - width, measured + width
    found = Estimate(value=measured, low=low, high=high, unit="", evidence=Evidence.MEASURED)
    return Comparison(metric=metric, predicted=said, measured=found)
