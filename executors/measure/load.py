"""A load test: an endpoint and a specification in, latency percentiles and rates out; every raw row is kept.

Warm-up first, fixed seeds, then level after level through a load generator.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import orjson

from executors.measure.level import summed
from executors.measure.resources import metered
from executors.serve.engine import Endpoint
from schemas.measurement import LevelSpec, LoadLevel, LoadReport, LoadSpec, RequestRow, Sla

NO_SLA = Sla()
OnLevel = Callable[[LoadLevel], Awaitable[None]]
More = Callable[[Sequence[LoadLevel]], LevelSpec | None]
"""The levels so far in, the next one out, None at the end."""


@dataclass(frozen=True)
class Sent:
    """A level's requests as they ended; when it began in monotonic seconds, and how long it took."""

    rows: Sequence[RequestRow]
    began: float
    duration_s: float


class LoadGenerator(Protocol):
    """Whatever puts load on an endpoint."""

    @property
    def name(self) -> str:
        """For conditions, with its version where it is a tool."""

    async def warm_up(self, requests: int) -> None:
        """So many requests that nobody counts."""

    async def send(self, level: LevelSpec, seed: int) -> Sent:
        """One level: a row for each request, a failure being a row with its error."""


def nothing_more(_: Sequence[LoadLevel]) -> LevelSpec | None:
    """For tests whose levels are known beforehand."""
    return None


async def measure(
    endpoint: Endpoint,
    generator: LoadGenerator,
    spec: LoadSpec,
    *,
    strategy: str,
    rows: Path,
    on_level: OnLevel,
    more: More = nothing_more,
) -> LoadReport:
    """Warm up, run every level, write each request to `rows` (JSON lines), call `on_level` after each level.

    When the levels of `spec` are done, `more` is asked for one after the other.
    """
    levels: list[LoadLevel] = []
    rows.unlink(missing_ok=True)  # an attempt that was cut short may have left some
    await generator.warm_up(spec.warmup_requests)
    level: LevelSpec | None = spec.levels[0]
    while level is not None:
        seed = spec.seed + len(levels)
        levels.append(await run_level(endpoint, generator, level, seed=seed, rows=rows, sla=spec.sla))
        await on_level(levels[-1])
        level = spec.levels[len(levels)] if len(levels) < len(spec.levels) else more(levels)
    return LoadReport(
        strategy=strategy,
        input_tokens=spec.input_tokens,
        output_tokens=spec.output_tokens,
        shared_prefix_tokens=spec.shared_prefix_tokens,
        warmup_requests=spec.warmup_requests,
        generator=generator.name,
        ready_s=endpoint.ready_s,
        levels=tuple(levels),
    )


async def run_level(
    endpoint: Endpoint, generator: LoadGenerator, level: LevelSpec, *, seed: int, rows: Path, sla: Sla = NO_SLA
) -> LoadLevel:
    """Run one level and sum it up."""
    async with metered(endpoint) as meter:
        sent = await generator.send(level, seed)
    with rows.open("ab") as out:
        named = {"arrivals": level.arrivals, "setting": level.setting}
        out.writelines(orjson.dumps(named | row.model_dump(), option=orjson.OPT_APPEND_NEWLINE) for row in sent.rows)
    used = meter.result(sent.began, sent.began + sent.duration_s)
    return summed(level, sent.rows, seed=seed, duration_s=sent.duration_s, sla=sla, resources=used)
