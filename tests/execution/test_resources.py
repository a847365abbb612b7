"""What is watched while load is on: memory that grows is told from memory that stays."""

import asyncio
import sys
import time

import pytest

from executors.measure import resources
from executors.measure.resources import metered
from executors.serve.engine import Endpoint
from schemas.resources import Resources

LEAK = "import time\nkept = []\nwhile True:\n    kept.append(bytearray(2_000_000 * {grows}))\n    time.sleep(0.1)\n"


async def watched(grows: int) -> Resources:
    """A program that keeps so many times 20 MB a second at the most, watched for some seconds."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", LEAK.format(grows=grows))
    try:
        began = time.monotonic()
        async with metered(Endpoint("http://127.0.0.1:9", "m", child.pid, 0)) as meter:
            await asyncio.sleep(4)
        return meter.result(began, time.monotonic())
    finally:
        child.kill()
        await child.wait()


async def test_memory_that_grows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the hour, from the slope of the second half; what does not grow has none to speak of."""
    monkeypatch.setattr(resources, "LONG_S", 3.0)
    leaking, steady = await watched(1), await watched(0)
    assert leaking.rss_growth_mb_per_hour is not None
    assert steady.rss_growth_mb_per_hour is not None
    assert 5_000 < leaking.rss_growth_mb_per_hour < 80_000
    assert abs(steady.rss_growth_mb_per_hour) < 1_000


async def test_a_short_look_says_nothing_of_growth() -> None:
    """Within a minute a slope is noise of the allocator, and is not told."""
    assert (await watched(1)).rss_growth_mb_per_hour is None
