"""Use of the machine while a body runs: CPU and GPU, one process group's CPU and memory, the engine's own figures."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

import aiohttp
import numpy as np
import psutil

from executors.measure import engine_metrics
from executors.measure.engine_metrics import Scrape
from executors.measure.gpu import Gpus, GpuSample
from executors.serve.engine import Endpoint
from schemas.resources import Resources

SAMPLE_S = 0.25
SCRAPE_S = 1.0
LONG_S = 60.0
"""Below this a slope is only noise of the allocator."""
MEGA = 1e6


class Sample(NamedTuple):
    """One moment: monotonic seconds, CPU seconds since boot (busy and all), the group's CPU seconds and bytes."""

    at: float
    busy: float
    total: float
    engine_cpu_s: float
    rss: float
    gpu: GpuSample | None


class Meter:
    """Filled while the body runs; an engine that is gone uses nothing."""

    def __init__(self, pid: int) -> None:
        self._root: psutil.Process | None = None
        with contextlib.suppress(psutil.NoSuchProcess):
            self._root = psutil.Process(pid)
        self._gpus = Gpus()
        self._samples: list[Sample] = []
        self.scrapes: list[tuple[float, Scrape]] = []

    def sample(self) -> None:
        """Note how things are now."""
        group = self._group()
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        self._samples.append(
            Sample(
                at=time.monotonic(),
                busy=sum(times) - idle,
                total=sum(times),
                engine_cpu_s=sum(map(_cpu, group)),
                rss=sum(map(_rss, group)),
                gpu=self._gpus.sample(),
            )
        )

    def result(self, since: float, until: float) -> Resources:
        """What was used between two monotonic times, as near as the samples tell."""
        within = [one for one in self._samples if since - SAMPLE_S <= one.at <= until + SAMPLE_S] or self._samples[-1:]
        first, last = within[0], within[-1]
        gpus = [one.gpu for one in within if one.gpu]
        scraped = [scrape for at, scrape in self.scrapes if since - SCRAPE_S <= at <= until + SCRAPE_S]
        passed, engine = last.total - first.total, max(0.0, last.engine_cpu_s - first.engine_cpu_s)
        span = last.at - first.at
        return Resources(
            cpu_util=min(1.0, max(0.0, (last.busy - first.busy) / passed)) if passed else 0.0,
            engine_cpu_seconds=engine,
            other_cores=max(0.0, last.busy - first.busy - engine) / span if span else 0.0,
            rss_peak_mb=max(one.rss for one in within) / MEGA,
            rss_growth_mb_per_hour=_growth(within),
            gpu_util=sum(one.util for one in gpus) / len(gpus) if gpus else None,
            gpu_memory_peak_mb=max((one.memory_mb for one in gpus), default=None),
            gpu_power_w=sum(one.power_w for one in gpus) / len(gpus) if gpus else None,
            engine=engine_metrics.summed(scraped),
        )

    def _group(self) -> list[psutil.Process]:
        if self._root is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                return [self._root, *self._root.children(recursive=True)]
        return []


@contextlib.asynccontextmanager
async def metered(endpoint: Endpoint) -> AsyncIterator[Meter]:
    """A meter of the process group behind `endpoint` that samples while the body runs, and once more at its end."""
    meter = Meter(endpoint.pid)

    async def sample() -> None:
        while True:
            meter.sample()
            await asyncio.sleep(SAMPLE_S)

    timeout = aiohttp.ClientTimeout(total=5 * SCRAPE_S)
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:

        async def look() -> None:
            at = time.monotonic()
            if found := await _scraped(session, endpoint.url):
                meter.scrapes.append((at, found))

        async def scrape() -> None:
            while meter.scrapes:  # an engine that did not answer the first time has no figures of its own
                await asyncio.sleep(SCRAPE_S)
                await look()

        await look()
        tasks = [asyncio.create_task(sample()), asyncio.create_task(scrape())]
        try:
            yield meter
            meter.sample()
            if meter.scrapes:
                await look()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _scraped(session: aiohttp.ClientSession, url: str) -> Scrape | None:
    """What the engine says of itself; None where it answers no `/metrics`, as some engines do, or not in time."""
    try:
        async with session.get(url + "/metrics", raise_for_status=True) as answer:
            return engine_metrics.parsed(await answer.text())
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None


def _growth(samples: list[Sample]) -> float | None:
    """Megabytes an hour by which memory grew: the slope of least squares over the second half of the time."""
    late = samples[len(samples) // 2 :]
    if len(late) < 2 or samples[-1].at - samples[0].at < LONG_S:  # noqa: PLR2004 - a slope needs two points
        return None
    times = np.array([one.at for one in late])
    return float(np.polyfit(times - times[0], [one.rss for one in late], 1)[0]) * 3600 / MEGA


def _rss(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        return float(process.memory_info().rss)
    return 0.0


def _cpu(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0
