"""The built-in load generator: a level's arrivals in, one timed row for each request out.

Closed loops keep a number of requests open; open ones send when it is time, whatever the answers take.
"""

import asyncio
import time
from collections.abc import AsyncIterator

import numpy as np

from executors.measure.client import Client
from executors.measure.load import Sent
from schemas.measurement import Arrivals, LevelSpec, RequestRow, TraceEntry


class BuiltIn:
    """Sends a level's requests through a client."""

    name = "the built-in client"

    def __init__(self, client: Client) -> None:
        self.client = client

    async def send(self, level: LevelSpec, seed: int) -> Sent:
        """Every request of the level, in the order in which they ended."""
        drive = self._closed_loop if level.arrivals is Arrivals.CONCURRENCY else self._open_loop
        start = time.monotonic()
        rows = [row async for row in drive(level, seed, start)]
        return Sent(rows, start, time.monotonic() - start)

    async def warm_up(self, requests: int) -> None:
        """One request after the other that nobody counts."""
        for _ in range(requests):
            await self.client.request(time.monotonic())

    async def _closed_loop(self, level: LevelSpec, _seed: int, start: float) -> AsyncIterator[RequestRow]:
        """`setting` requests always open, until enough were sent or the time is up."""
        left = level.requests
        pending: set[asyncio.Task[RequestRow]] = set()
        try:
            while left or pending:
                while left and len(pending) < level.setting:
                    pending.add(asyncio.create_task(self.client.request(start)))
                    left -= 1
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
                if time.monotonic() - start > level.limit_s:
                    left = 0
        finally:
            await _drop(pending)

    async def _open_loop(self, level: LevelSpec, seed: int, start: float) -> AsyncIterator[RequestRow]:
        """Requests come when they come, whatever the answers take."""

        async def at(offset: float, shape: TraceEntry | None) -> RequestRow:
            await asyncio.sleep(max(0.0, start + offset - time.monotonic()))
            return await self.client.request(start, shape)

        tasks = {asyncio.create_task(at(offset, shape)) for offset, shape in arrivals(level, seed)}
        try:
            for task in asyncio.as_completed(tasks):
                yield await task
        finally:
            await _drop(tasks)


def arrivals(level: LevelSpec, seed: int) -> list[tuple[float, TraceEntry | None]]:
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
