"""Measured figures against the request: a line for each target and constraint, met or not, with its conditions."""

from collections.abc import Iterator

from schemas.command import OptimizeInference, Performance
from schemas.evidence import Estimate
from schemas.measurement import Arrivals, GateDecision, GateVerdict, LoadLevel, LoadReport, Percentiles
from schemas.report import BeforeAfter, Cost, Line


def capacity(load: LoadReport) -> LoadLevel:
    """The closed-loop level that completed most requests a second; any level where there is no closed loop."""
    closed = [level for level in load.levels if level.arrivals is Arrivals.CONCURRENCY]
    return max(closed or load.levels, key=lambda level: level.throughput_rps.value)


def arrivals(load: LoadReport) -> LoadLevel:
    """The level that latency targets are held against: the last one."""
    return load.levels[-1]


def lines(
    command: OptimizeInference, load: LoadReport, gate: GateDecision | None, cost: Cost | None
) -> tuple[Line, ...]:
    """Every limit of the request with what was measured for it. The baseline has no gate."""
    return (
        *target_lines(command.targets, load),
        *([_quality(gate)] if gate else []),
        *_budget(command, cost),
    )


def target_lines(targets: Performance, load: LoadReport) -> tuple[Line, ...]:
    """Every target with what one load test measured for it."""
    return (*_rates(targets, load), *_times(targets, load))


def before_after(baseline: LoadReport, after: LoadReport) -> tuple[BeforeAfter, ...]:
    """The same load on the baseline and on the chosen strategy, metric by metric."""
    now = dict(_figures(after))
    return tuple(
        BeforeAfter(metric=name, before=old, after=now[name], lower_is_better=name not in RATES)
        for name, old in _figures(baseline)
        if name in now
    )


RATES = ("throughput at capacity", "output tokens at capacity")


def _figures(load: LoadReport) -> Iterator[tuple[str, Estimate]]:
    """The figures that a person compares, in the order in which the report shows them."""
    full, poisson = capacity(load), arrivals(load)
    yield RATES[0], full.throughput_rps
    yield RATES[1], full.output_tokens_s
    for name, figures in (("latency", poisson.latency), ("TTFT", poisson.ttft), ("TPOT", poisson.tpot)):
        if figures is not None:
            yield f"{name} p50", figures.p50
            yield f"{name} p95", figures.p95
            yield f"{name} p99", figures.p99


HOW = {
    Arrivals.CONCURRENCY: "{:g} open requests",
    Arrivals.POISSON: "Poisson arrivals at {:.3g} requests/s",
    Arrivals.CONSTANT: "evenly spaced arrivals at {:.3g} requests/s",
    Arrivals.TRACE: "a replayed trace of {:.3g} requests/s",
}


def conditions(level: LoadLevel, load: LoadReport) -> str:
    """Under which load a figure was measured."""
    how = HOW[level.arrivals].format(level.setting)
    tokens = f"{load.input_tokens} tokens in, {load.output_tokens} out"
    return f"{how}, {tokens}, {level.completed} of {level.requests} requests completed"


def _rates(targets: Performance, load: LoadReport) -> Iterator[Line]:
    level = capacity(load)
    for name, target, measured in (
        ("throughput", targets.throughput, level.throughput_rps),
        ("throughput_tokens", targets.throughput_tokens, level.output_tokens_s),
    ):
        if target is not None:
            met = measured.value >= target and level.failed == 0
            limit = f"at least {target:g} {measured.unit}"
            yield Line(name=name, limit=limit, measured=measured, met=met, conditions=conditions(level, load))


def _times(targets: Performance, load: LoadReport) -> Iterator[Line]:
    level = arrivals(load)
    for metric, figures in (("latency", level.latency), ("ttft", level.ttft), ("tpot", level.tpot)):
        for share in ("p50", "p95", "p99"):
            target = getattr(targets, f"{metric}_{share}", None)
            if target is None:
                continue
            measured = share_of(figures, share)
            yield Line(
                name=f"{metric}_{share}",
                limit=f"at most {target:g} ms",
                measured=measured,
                met=measured is not None and measured.value <= target and level.failed == 0,
                conditions=conditions(level, load) + _doubt(measured, target),
            )


def _doubt(measured: Estimate | None, target: float) -> str:
    """Words for a figure whose interval holds the target: more requests could turn the verdict."""
    crossed = measured is not None and measured.low <= target <= measured.high
    return "; its interval holds the limit, so a longer test may decide otherwise" if crossed else ""


def share_of(figures: Percentiles | None, share: str) -> Estimate | None:
    """One percentile of figures that may be absent."""
    return None if figures is None else {"p50": figures.p50, "p95": figures.p95, "p99": figures.p99}[share]


def _quality(gate: GateDecision) -> Line:
    quality = gate.quality
    return Line(
        name="max_quality_loss",
        limit=f"interval's upper end at most {gate.limit:.2%}",
        measured=quality_loss(gate),
        met=gate.verdict is GateVerdict.PASSED,
        conditions=f"{quality.tokens} tokens of {quality.text}, paired, {quality.confidence:.0%} confidence",
    )


def quality_loss(gate: GateDecision) -> Estimate:
    """The gate's figure as an estimate."""
    quality = gate.quality
    return Estimate(
        value=quality.loss,
        low=quality.loss_low,
        high=quality.loss_high,
        unit="relative",
        evidence="measured",
        source=f"perplexity on {quality.tokens} paired tokens",
    )


def _budget(command: OptimizeInference, cost: Cost | None) -> Iterator[Line]:
    budget = command.constraints.budget_monthly
    if budget is None:
        return
    yield Line(
        name="budget_monthly",
        limit=f"at most ${budget:,.0f} a month",
        measured=cost.monthly if cost else None,
        met=bool(cost and cost.monthly and cost.monthly.value <= budget),
        conditions=cost.sentence if cost else "no price is known for this hardware",
    )
