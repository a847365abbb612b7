"""What is asked of a load test in, its levels out: the usual ones, or rates, traces, a soak and a stress test."""

from collections.abc import Sequence
from dataclasses import dataclass

from executors.measure.load import More, nothing_more
from executors.measure.stress import FIRST_RPS, knee_of, rising
from handlers.workshop import Effort
from schemas.command import Performance
from schemas.measurement import Arrivals, Knee, LevelSpec, LoadLevel, LoadSpec, Sla, TraceEntry
from schemas.plan import PlannedWorkload, Strategy
from schemas.request import BenchmarkInference, LoadShape

ENDLESS = 10**6
"""More requests than any soak sends: time ends it."""
STRESS_REQUESTS = 20
"""Of each rate of a stress test, at the least: one bad request is then five percent."""


@dataclass(frozen=True)
class Load:
    """Levels known beforehand, and those that follow from what came out."""

    spec: LoadSpec
    more: More = nothing_more
    stress: bool = False
    profile: bool = False

    @property
    def shares(self) -> bool:
        """Whether prompts have a part in common, which a prefix cache would keep."""
        return self.spec.shared_prefix_tokens > 0

    def knee(self, levels: Sequence[LoadLevel]) -> Knee | None:
        """Where a stress test broke."""
        return knee_of(levels, self.spec.sla) if self.stress else None


def usual(effort: Effort, strategy: Strategy, workload: PlannedWorkload) -> LoadSpec:
    """One, half as many and as many open requests as the strategy has slots; last, what latency is held against.

    That is Poisson arrivals at the plan's rate, or its number of open requests where nobody named a rate.
    """
    slots = strategy.max_sequences
    held = _closed(effort, workload.concurrency)
    if workload.request_rate:
        held = _open(effort, workload.request_rate, effort.requests, Arrivals.POISSON)
    levels = [
        level for level in (_closed(effort, it) for it in sorted({1, max(1, slots // 2), slots})) if level != held
    ]
    return LoadSpec(
        input_tokens=workload.input_tokens,
        output_tokens=workload.output_tokens,
        shared_prefix_tokens=workload.shared_prefix_tokens,
        warmup_requests=effort.warmup,
        levels=(*levels, held),
        generator=effort.generator,
    )


def busiest(spec: LoadSpec) -> LevelSpec:
    """A closed loop with as many open requests as any level of `spec` keeps; one where none says."""
    closed = [level.setting for level in spec.levels if level.arrivals is Arrivals.CONCURRENCY]
    return LevelSpec(arrivals=Arrivals.CONCURRENCY, setting=max(closed, default=1), requests=1)


def asked(command: BenchmarkInference, effort: Effort, strategy: Strategy, workload: PlannedWorkload) -> Load:
    """The load that a command asks for; the usual one where it leaves everything open."""
    shape, sla = command.load, sla_of(command.targets)
    base = usual(effort, strategy, workload)
    requests = max(shape.requests or STRESS_REQUESTS, STRESS_REQUESTS)
    levels = tuple(_levels(shape, effort))
    if shape.stress and not levels:
        levels = (_open(effort, FIRST_RPS, requests, Arrivals.POISSON),)
    wanted = {
        "levels": levels or base.levels,
        "sla": sla,
        "timeout_s": shape.timeout_s,
        "generator": shape.generator or effort.generator,
    }
    more = rising(sla, requests, effort.level_limit_s) if shape.stress else nothing_more
    return Load(base.model_copy(update=wanted), more, stress=shape.stress, profile=command.profile)


def sla_of(targets: Performance) -> Sla:
    """The times of a request among its targets: the 95th percentile's, else the 99th's, else the median's."""
    return Sla(
        ttft_ms=targets.ttft_p95 or targets.ttft_p99 or targets.ttft_p50,
        tpot_ms=targets.tpot_p95 or targets.tpot_p50,
        latency_ms=targets.latency_p95 or targets.latency_p99 or targets.latency_p50,
    )


def _levels(shape: LoadShape, effort: Effort) -> list[LevelSpec]:
    """What was named, in the order of the fields."""
    arrivals = Arrivals.CONSTANT if shape.evenly else Arrivals.POISSON
    levels = [_closed(effort, number, shape.requests) for number in shape.concurrency]
    levels += [_open(effort, rate, shape.requests or effort.requests, arrivals) for rate in shape.rates]
    if shape.trace:
        trace = tuple(
            TraceEntry(at_s=entry.at_s, input_tokens=entry.input_tokens, output_tokens=entry.output_tokens)
            for entry in shape.trace
        )
        last = max(entry.at_s for entry in trace)
        rate = len(trace) / last if last else float(len(trace))
        levels.append(LevelSpec(arrivals=Arrivals.TRACE, setting=rate, requests=len(trace), limit_s=last, trace=trace))
    if shape.soak_minutes:
        soak = _closed(effort, shape.concurrency[-1] if shape.concurrency else 1, ENDLESS)
        levels.append(soak.model_copy(update={"limit_s": 60 * shape.soak_minutes}))
    return levels


def _closed(effort: Effort, open_requests: int, requests: int | None = None) -> LevelSpec:
    return LevelSpec(
        arrivals=Arrivals.CONCURRENCY,
        setting=open_requests,
        requests=requests or max(2 * open_requests, effort.requests // 2),
        limit_s=effort.level_limit_s,
    )


def _open(effort: Effort, rate: float, requests: int, arrivals: Arrivals) -> LevelSpec:
    return LevelSpec(arrivals=arrivals, setting=rate, requests=requests, limit_s=effort.level_limit_s)


def longest(spec: LoadSpec) -> int:
    """Tokens of prompt and answer of the longest request."""
    traced = [entry.input_tokens + entry.output_tokens for level in spec.levels for entry in level.trace]
    return max(spec.input_tokens + spec.output_tokens, *traced, 0)
