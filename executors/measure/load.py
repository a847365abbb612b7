"""A load test: an endpoint and a specification in, latency percentiles and rates out; every raw row is kept.

Warm-up, fixed seeds, closed loops, and open ones: Poisson, evenly spaced, or replayed from a trace.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
import orjson

from executors.measure.client import Client, Prompt, connected
from executors.measure.resources import metered
from executors.measure.statistics import observed, percentiles
from executors.serve.engine import Endpoint
from schemas.measurement import Arrivals, LevelSpec, LoadLevel, LoadReport, LoadSpec, RequestRow, Sla, TraceEntry

NO_SLA = Sla()
OnLevel = Callable[[LoadLevel], Awaitable[None]]
More = Callable[[Sequence[LoadLevel]], LevelSpec | None]
"""The levels so far in, the next one out, None at the end."""


def nothing_more(_: Sequence[LoadLevel]) -> LevelSpec | None:
    """For tests whose levels are known beforehand."""
    return None


async def measure(
    endpoint: Endpoint,
    prompts: Sequence[Prompt],
    spec: LoadSpec,
    *,
    strategy: str,
    rows: Path,
    on_level: OnLevel,
    more: More = nothing_more,
) -> LoadReport:
    """Warm up, run every level, write each request to `rows` (JSON lines), call `on_level` after each level.

    `prompts` are token ids, used in turn; each asks for exactly `spec.output_tokens` tokens, greedily. When the
    levels of `spec` are done, `more` is asked for one after the other.
    """
    levels: list[LoadLevel] = []
    rows.unlink(missing_ok=True)  # an attempt that was cut short may have left some
    async with connected() as session:
        client = Client(session, endpoint, prompts, spec.output_tokens)
        for _ in range(spec.warmup_requests):
            await client.request(time.monotonic())
        level: LevelSpec | None = spec.levels[0]
        while level is not None:
            levels.append(await run_level(client, level, spec.seed + len(levels), rows, spec.sla))
            await on_level(levels[-1])
            level = spec.levels[len(levels)] if len(levels) < len(spec.levels) else more(levels)
    return LoadReport(
        strategy=strategy,
        input_tokens=spec.input_tokens,
        output_tokens=spec.output_tokens,
        warmup_requests=spec.warmup_requests,
        ready_s=endpoint.ready_s,
        levels=tuple(levels),
    )


async def run_level(client: Client, level: LevelSpec, seed: int, rows: Path, sla: Sla = NO_SLA) -> LoadLevel:
    """Run one level and sum it up."""
    drive = _closed_loop if level.arrivals is Arrivals.CONCURRENCY else _open_loop
    async with metered(client.endpoint.pid) as meter:
        start = time.monotonic()
        done = [row async for row in drive(client, level, seed, start)]
        duration = time.monotonic() - start
        resources = meter.result()
    with rows.open("ab") as out:
        named = {"arrivals": level.arrivals, "setting": level.setting}
        out.writelines(orjson.dumps(named | row.model_dump(), option=orjson.OPT_APPEND_NEWLINE) for row in done)
    complete = [row for row in done if row.error is None]
    source = f"{level.arrivals.value} {level.setting:g}"
    return LoadLevel(
        arrivals=level.arrivals,
        setting=level.setting,
        seed=seed,
        duration_s=duration,
        requests=len(done),
        completed=len(complete),
        errors=len(done) - len(complete),
        throughput_rps=observed(len(complete) / duration, "requests/s", source),
        output_tokens_s=observed(sum(row.output_tokens for row in complete) / duration, "tokens/s", source),
        ttft=percentiles([row.ttft_ms for row in complete if row.ttft_ms is not None], source),
        tpot=percentiles([row.tpot_ms for row in complete if row.tpot_ms is not None], source),
        latency=percentiles([row.latency_ms for row in complete if row.latency_ms is not None], source),
        goodput_rps=observed(sum(map(sla.kept, done)) / duration, "requests/s", source) if sla.given else None,
        resources=resources,
    )


async def _closed_loop(client: Client, level: LevelSpec, _seed: int, start: float) -> AsyncIterator[RequestRow]:
    """`setting` requests always open, until enough were sent or the time is up."""
    left = level.requests
    pending: set[asyncio.Task[RequestRow]] = set()
    try:
        while left or pending:
            while left and len(pending) < level.setting:
                pending.add(asyncio.create_task(client.request(start)))
                left -= 1
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
            if time.monotonic() - start > level.limit_s:
                left = 0
    finally:
        await _drop(pending)


async def _open_loop(client: Client, level: LevelSpec, seed: int, start: float) -> AsyncIterator[RequestRow]:
    """Requests come when they come, whatever the answers take."""

    async def at(offset: float, shape: TraceEntry | None) -> RequestRow:
        await asyncio.sleep(max(0.0, start + offset - time.monotonic()))
        return await client.request(start, shape)

    tasks = {asyncio.create_task(at(offset, shape)) for offset, shape in _arrivals(level, seed)}
    try:
        for task in asyncio.as_completed(tasks):
            yield await task
    finally:
        await _drop(tasks)


def _arrivals(level: LevelSpec, seed: int) -> list[tuple[float, TraceEntry | None]]:
    """Seconds since the start, within `limit_s`: exponential gaps of mean 1/`setting`, equal gaps, or the trace's."""
    if level.arrivals is Arrivals.TRACE:
        return [(entry.at_s, entry) for entry in level.trace if entry.at_s <= level.limit_s]
    gaps = np.full(level.requests, 1 / level.setting)
    if level.arrivals is Arrivals.POISSON:
        gaps = np.random.default_rng(seed).exponential(1 / level.setting, level.requests)
    return [(float(offset), None) for offset in np.cumsum(gaps) - gaps[0] if offset <= level.limit_s]


async def _drop(tasks: set[asyncio.Task[RequestRow]]) -> None:
    """End what is still under way when a level is cut short."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
