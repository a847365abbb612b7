"""Use of the machine while a body runs: CPU of all cores, CPU seconds and peak memory of one process group."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import numpy as np
import psutil

from schemas.measurement import Resources

SAMPLE_S = 0.25
LONG_S = 60.0
"""Below this a slope is only noise of the allocator."""
MEGA = 1e6


class Meter:
    """Filled while the body runs; `result` holds once it has ended."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._rss: list[tuple[float, float]] = []
        psutil.cpu_percent()
        self._cpu_start = self._cpu_seconds()

    def sample(self) -> None:
        """Note the group's memory now."""
        self._rss.append((time.monotonic(), sum(_rss(process) for process in self._group())))

    def result(self) -> Resources:
        """What was used since the meter was made."""
        used = max(0.0, self._cpu_seconds() - self._cpu_start)
        return Resources(
            cpu_util=psutil.cpu_percent() / 100,
            engine_cpu_seconds=used,
            rss_peak_mb=max((size for _, size in self._rss), default=0.0) / MEGA,
            rss_growth_mb_per_hour=self._growth(),
            gpu_util=None,
        )

    def _growth(self) -> float | None:
        """Megabytes an hour by which memory grew: the slope of least squares over the second half of the time."""
        late = self._rss[len(self._rss) // 2 :]
        if not late or self._rss[-1][0] - self._rss[0][0] < LONG_S:
            return None
        times, sizes = np.array(late).T
        return float(np.polyfit(times - times[0], sizes, 1)[0]) * 3600 / MEGA

    def _group(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self._root, *self._root.children(recursive=True)]
        return []

    def _cpu_seconds(self) -> float:
        return sum(_cpu(process) for process in self._group())


@contextlib.asynccontextmanager
async def metered(pid: int) -> AsyncIterator[Meter]:
    """A meter of the process group of `pid` that samples while the body runs."""
    meter = Meter(pid)

    async def run() -> None:
        while True:
            meter.sample()
            await asyncio.sleep(SAMPLE_S)

    sampler = asyncio.create_task(run())
    try:
        yield meter
    finally:
        sampler.cancel()
        await asyncio.gather(sampler, return_exceptions=True)


def _rss(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        return float(process.memory_info().rss)
    return 0.0


def _cpu(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0
