"""EVALUATE_QUALITY by itself: cancelled in the middle of its scoring, and killed there with its agent."""

import asyncio
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from closing.agent import SMALL
from closing.agent import agent as agent_here
from closing.test_resume import agent, until_answered

from cli.send import Watch, send
from executors.broker import Broker
from handlers.workshop import Workshop
from schemas.findings import QualityReport
from schemas.status import InferenceStatus, JobState

pytestmark = [pytest.mark.real, pytest.mark.timeout(600), pytest.mark.usefixtures("nothing_left")]
MODEL = "smollm2-135m-instruct"
ASKED = {"cmd": "EVALUATE_QUALITY", "model": MODEL, "candidate": MODEL, "constraints": {"max_quality_loss": 0.0}}
"""A model against the 16-bit form of its own weights: nothing is lost, and no number of tokens decides against zero."""
CANCELLED_WITHIN_S = 5


class Scoring(list[InferenceStatus]):
    """Updates as they come, and when the engine has told of its first scores."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way = asyncio.Event()

    def append(self, update: InferenceStatus) -> None:
        """Keep an update, and look whether it is one of the scoring."""
        super().append(update)
        if "scored tokens" in update.detail:
            self.under_way.set()


async def test_it_is_cancelled_within_five_seconds(workshop: Workshop, tmp_path: Path) -> None:
    """CANCEL_JOB while tokens are scored: one terminal update, no report, and the engine is gone."""
    updates, accepted = Scoring(), list[str]()
    endless = replace(workshop, effort=replace(SMALL, judge_tokens=200_000))
    async with agent_here(tmp_path, endless) as url:
        watch = Watch(accepted=accepted.append, status=updates.append)
        following = asyncio.create_task(send(ASKED, url, watch=watch))
        await asyncio.wait_for(updates.under_way.wait(), 120)
        since = time.monotonic()
        await send({"cmd": "CANCEL_JOB", "job": accepted[0]}, url)
        await asyncio.wait_for(following, 2 * CANCELLED_WITHIN_S)
        took = time.monotonic() - since
    assert updates[-1].state is JobState.CANCELLED
    assert took < CANCELLED_WITHIN_S
    assert [update.state.terminal for update in updates].count(True) == 1
    assert not (tmp_path / accepted[0] / "report.json").exists()


async def test_killed_with_its_agent_it_goes_on_at_its_last_finished_step(workshop: Workshop, tmp_path: Path) -> None:
    """Kill -9 while tokens are scored: the next agent judges with the baseline that is there, and says so once."""
    runs, updates = tmp_path / "runs", Scoring()
    async with Broker(tmp_path / "broker") as broker:
        async with agent(broker.url, runs, workshop, judge_tokens=6_000) as first:
            await until_answered(broker.url)
            following = asyncio.create_task(send(ASKED, broker.url, watch=Watch(status=updates.append)))
            await asyncio.wait_for(updates.under_way.wait(), 120)
            (base,) = runs.glob("job-*/F16.gguf")
            made = base.stat().st_mtime_ns
            os.killpg(first.process.pid, signal.SIGKILL)
            await first.wait()
        async with agent(broker.url, runs, workshop, judge_tokens=6_000):
            sent = await asyncio.wait_for(following, 300)
    assert sent.terminal is not None
    assert [update.state.terminal for update in updates].count(True) == 1
    assert base.stat().st_mtime_ns == made
    report = QualityReport.model_validate_json((base.parent / "report.json").read_bytes())
    assert report.candidate.lower().startswith(MODEL)
    assert abs(report.gate.quality.loss) < 0.01
