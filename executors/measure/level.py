"""One level's rows in, its figures out: rates, percentiles, goodput, failures; of its steady part if there is one."""

from collections.abc import Sequence

from executors.measure.statistics import observed, percentiles, rate
from schemas.evidence import Estimate
from schemas.measurement import Arrivals, LevelSpec, LoadLevel, RequestRow, Sla, SteadyPart
from schemas.resources import Resources

FEWEST_STEADY = 20
"""Requests answered in the steady part below which the ramps are kept: leaving them out would leave too little."""


def summed(
    level: LevelSpec, rows: Sequence[RequestRow], *, seed: int, duration_s: float, sla: Sla, resources: Resources
) -> LoadLevel:
    """One level's figures."""
    steady = steady_part(level, rows)
    complete = [row for row in rows if row.error is None]
    counted = [row for row in complete if steady is None or steady.from_s < end_s(row) <= steady.until_s]
    source = f"{level.arrivals.value} {level.setting:g}" + (", steady part" if steady else "")
    timeouts = sum(row.timed_out for row in rows)
    kept = [row for row in complete if sla.kept(row)]
    prompts = sum(row.prompt_tokens for row in complete)

    def per_second(part: Sequence[RequestRow], weights: Sequence[float], unit: str) -> Estimate:
        if steady is None:
            return observed(sum(weights) / duration_s, unit, source)
        spans = [(row.start_ms / 1e3, end_s(row)) for row in part]
        return rate(spans, weights, (steady.from_s, steady.until_s), unit, source)

    return LoadLevel(
        arrivals=level.arrivals,
        setting=level.setting,
        seed=seed,
        duration_s=duration_s,
        requests=len(rows),
        completed=len(complete),
        errors=len(rows) - len(complete) - timeouts,
        timeouts=timeouts,
        steady=steady,
        throughput_rps=per_second(complete, [1.0] * len(complete), "requests/s"),
        output_tokens_s=per_second(complete, [float(row.output_tokens) for row in complete], "tokens/s"),
        ttft=percentiles([row.ttft_ms for row in counted if row.ttft_ms is not None], source),
        tpot=percentiles([row.tpot_ms for row in counted if row.tpot_ms is not None], source),
        latency=percentiles([row.latency_ms for row in counted if row.latency_ms is not None], source),
        goodput_rps=per_second(kept, [1.0] * len(kept), "requests/s") if sla.given else None,
        attained=sum(map(sla.kept, rows)) / len(rows) if sla.given and rows else None,
        cached_share=sum(row.cached_tokens for row in complete) / prompts if prompts else 0.0,
        resources=resources,
    )


def steady_part(level: LevelSpec, rows: Sequence[RequestRow]) -> SteadyPart | None:
    """The level without its ramps; None for a trace, which has a course of its own, and where too little is left."""
    if level.arrivals is Arrivals.TRACE or not rows:
        return None
    wave = int(level.setting) if level.arrivals is Arrivals.CONCURRENCY else 1
    first = sorted(rows, key=lambda row: row.start_ms)[:wave]
    begins = max((end_s(row) for row in first if row.error is None), default=None)
    ends = max(row.start_ms for row in rows) / 1e3
    if begins is None:
        return None
    completed = sum(row.error is None and begins < end_s(row) <= ends for row in rows)
    return SteadyPart(from_s=begins, until_s=ends, completed=completed) if completed >= FEWEST_STEADY else None


def end_s(row: RequestRow) -> float:
    """When a completed request ended, in seconds since its level began."""
    return (row.start_ms + (row.latency_ms or 0.0)) / 1e3
