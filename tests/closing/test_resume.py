"""The real main job survives its agent: killed in the middle, it goes on with the next step and ends once."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from closing.agent import SMALL
from conftest import CACHE

from cli.send import Watch, send
from executors.broker import Broker
from executors.process import Child
from handlers.workshop import Workshop
from schemas.error import AgentError
from schemas.report import Report
from schemas.status import InferenceStatus

ROOT = Path(__file__).parents[2]
COMMAND: dict[str, object] = {
    "cmd": "OPTIMIZE_INFERENCE",
    "model": "SmolLM2-135M-Instruct",
    "targets": {"throughput": 0.1},
    "constraints": {"max_quality_loss": 0.5, "hardware": "host", "engines": ["llama.cpp"]},
    "workload": {"input_tokens": 16, "output_tokens": 4},
}


@contextlib.asynccontextmanager
async def agent(url: str, runs: Path, workshop: Workshop, **effort: int) -> AsyncIterator[Child]:
    """An agent process of its own, which spends as much as `effort` says."""
    env = {
        "INFERWRIGHT_CACHE": str(CACHE),
        "INFERWRIGHT_MODELS": str(workshop.model_roots[0]),
        "INFERWRIGHT_ACK_WAIT_S": "2",
        "INFERWRIGHT_EFFORT__MAX_THREADS": "1",
        "INFERWRIGHT_EFFORT__REQUESTS": str(SMALL.requests),
        "INFERWRIGHT_EFFORT__TRIALS": "1",
    } | {f"INFERWRIGHT_EFFORT__{name.upper()}": str(value) for name, value in effort.items()}
    argv = [sys.executable, "-m", "cli.main", "serve", "--nats", url, "--runs", str(runs)]
    async with Child(argv, log=runs.with_suffix(".log"), env=env, cwd=ROOT) as child:
        yield child


@pytest.mark.real
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("nothing_left")
async def test_a_killed_agents_job_goes_on_where_it_was(workshop: Workshop, tmp_path: Path) -> None:
    """Kill -9 while a candidate is judged: another agent finishes the job, and what was finished is not done again."""
    runs = tmp_path / "runs"
    judging = asyncio.Event()
    updates: list[InferenceStatus] = []

    def hear(update: InferenceStatus) -> None:
        updates.append(update)
        if update.detail.startswith("judging"):
            judging.set()

    async with Broker(tmp_path / "broker") as broker:
        async with agent(broker.url, runs, workshop) as first:
            await until_answered(broker.url)
            following = asyncio.create_task(send(COMMAND, broker.url, watch=Watch(status=hear)))
            await judging.wait()
            (base,) = runs.glob("job-*/F16.gguf")
            made = base.stat().st_mtime_ns
            os.killpg(first.process.pid, 9)
            await first.wait()
        async with agent(broker.url, runs, workshop):
            sent = await following
    assert sent.terminal is not None
    assert [update.state.terminal for update in updates].count(True) == 1
    assert base.stat().st_mtime_ns == made
    report = Report.model_validate_json((base.parent / "report.json").read_bytes())
    assert len(report.trials) == 1


async def until_answered(url: str) -> None:
    """Wait until the agent answers a PING."""
    while True:
        with contextlib.suppress(AgentError):
            await send({"cmd": "PING"}, url)
            return
        await asyncio.sleep(0.1)
