"""py-spy on an engine that computes in Python; run by `make test-toolchains` only."""

import asyncio
import sys
import time
from pathlib import Path

import pytest
from conftest import CACHE

from executors import toolchain
from executors.measure.load import Sent
from executors.measure.profile import PYSPY, Profiler
from executors.process import Child
from executors.serve.engine import Endpoint
from schemas.measurement import Arrivals, LevelSpec

pytestmark = [pytest.mark.real, pytest.mark.timeout(120), pytest.mark.usefixtures("nothing_left")]
BUSY = "def tokens():\n    return sum(number * number for number in range(10_000))\n\nwhile True:\n    tokens()\n"


class Quiet:
    """No load: the engine below is busy by itself."""

    name = "nothing"

    async def warm_up(self, requests: int) -> None:
        """Nothing to warm."""

    async def send(self, level: LevelSpec, _: int) -> Sent:
        """As long as the level lasts."""
        await asyncio.sleep(level.limit_s)
        return Sent([], time.monotonic(), level.limit_s)


async def test_the_python_functions_of_an_engine_are_named(tmp_path: Path) -> None:
    """The function that burns the time leads, by its name and line; perf names the interpreter beside it."""
    profiler = Profiler(tmp_path / "profile.log", toolchain.find(PYSPY, CACHE), seconds=2)
    level = LevelSpec(arrivals=Arrivals.CONCURRENCY, setting=1, requests=1)
    async with Child([sys.executable, "-c", BUSY], log=tmp_path / "engine.log") as engine:
        endpoint = Endpoint("http://127.0.0.1:9", "m", engine.process.pid, 0)
        found = await profiler.profile(endpoint, Quiet(), level, "itself")
    spied = [spot for spot in found.hotspots if spot.tool == "py-spy"]
    assert "tokens" in spied[0].where
    assert sum(spot.share for spot in spied) == pytest.approx(1, abs=0.05)
    assert not any("py-spy" in note for note in found.notes)
