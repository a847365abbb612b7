"""Rounds of two strategies in, what their pairs say out: ratios with intervals, and verdicts."""

from collections.abc import Callable, Sequence

from executors.measure.paired import paired_ratio
from schemas.evidence import Estimate
from schemas.findings import PairedRatio, PairVerdict
from schemas.measurement import LoadLevel, Percentiles

THROUGHPUT = "throughput_rps"
FIGURES: dict[str, Callable[[LoadLevel], float]] = {
    THROUGHPUT: lambda level: level.throughput_rps.value,
    "ttft_p50_ms": lambda level: _median(level.ttft),
    "tpot_p50_ms": lambda level: _median(level.tpot),
    "latency_p50_ms": lambda level: _median(level.latency),
}
"""Of each round; a round without a completed request has none, which reads 0."""


def pairs(first: Sequence[LoadLevel], other: Sequence[LoadLevel]) -> tuple[PairedRatio, ...]:
    """Every figure of `other` over that of `first`; those that some round lacks are left out."""
    found = []
    for metric, figure in FIGURES.items():
        ours, theirs = [figure(level) for level in other], [figure(level) for level in first]
        if min(*ours, *theirs) > 0:
            ratio = paired_ratio(theirs, ours, "rounds of the same load, interleaved")
            found.append(PairedRatio(metric=metric, ratio=ratio, verdict=_verdict(metric, ratio)))
    return tuple(found)


def _median(figures: Percentiles | None) -> float:
    return figures.p50.value if figures else 0.0


def _verdict(metric: str, ratio: Estimate) -> PairVerdict:
    if ratio.low <= 1 <= ratio.high:
        return PairVerdict.NO_DIFFERENCE
    return PairVerdict.FASTER if (ratio.value > 1) == (metric == THROUGHPUT) else PairVerdict.SLOWER
