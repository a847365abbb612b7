"""A job speaks of its tools' progress, and goes on when they have ended."""

import asyncio
import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from executors.worker import Progress
from handlers.workbench import bench as workbench
from handlers.workbench.bench import Bench, Stage
from handlers.workshop import Workshop
from schemas.plan import StepKind
from schemas.status import InferenceStatus


class Publishing:
    """A double of a job: an update takes a moment, and a cancellation that comes meanwhile is swallowed.

    asyncio.wait_for, with which NATS' client waits for its replies, did that before Python 3.12.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.begun = asyncio.Event()
        self.told: list[str] = []

    async def report(self, status: InferenceStatus, _: str) -> None:
        """Publish, however long it takes."""
        self.begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.2)
        self.told.append(status.detail)


async def test_a_tool_that_ends_while_its_progress_is_published_does_not_hold_the_job_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The update that is under way is told, and the step is over."""
    monkeypatch.setattr(workbench, "SPEAK_S", 0.01)
    job = Publishing(tmp_path)
    (tmp_path / "logs").mkdir()
    host = SimpleNamespace(cores=2, busy_cores=0.0)
    places = Workshop(cache=tmp_path, model_roots=(), memory=tmp_path)
    unread: dict[str, Any] = dict.fromkeys(("agent", "place", "model", "source", "tools", "texts"))
    bench = Bench(**unread, job=cast("Any", job), workshop=places, host=cast("Any", host))
    async with asyncio.timeout(5):
        async with bench.tool(StepKind.BASELINE, Stage("v", "l", 0.1), "base") as tool:
            tool.on_progress(Progress(done=1, total=2, detail="tensors"))
            await job.begun.wait()
    assert job.told == ["base: 1 of 2 tensors"]
