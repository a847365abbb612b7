"""One method of each toolchain over NATS: ended at work, and gone on with after its agent was killed."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from closing.test_resume import agent, until_answered

from cli.send import Watch, send
from executors.broker import Broker
from executors.compress.methods import method
from handlers.workshop import Workshop
from schemas.findings import QualityReport
from schemas.status import InferenceStatus, JobState

pytestmark = [pytest.mark.real, pytest.mark.timeout(900), pytest.mark.usefixtures("nothing_left")]
MODEL = "smollm2-135m-instruct"
LITTLE = {"calibration_samples": 4, "calibration_tokens": 64, "training_steps": 4, "judge_tokens": 1024}
NAMES = ("bnb-nf4", "smoothquant-w8a8", "openvino-int8", "onnx-int8", "gptqmodel-8bit", "autoround-w4a16")


@pytest.fixture
def workshop(shipped: Path, tmp_path: Path) -> Workshop:
    """The real model; the agent is a process of its own with its own settings."""
    return Workshop(cache=tmp_path / "unused", model_roots=(shipped.parent,), memory=tmp_path / "unused")


def hearing(words: str) -> tuple[list[InferenceStatus], asyncio.Event, Callable[[InferenceStatus], None]]:
    """What was heard, whether `words` were among it, and what hears."""
    updates: list[InferenceStatus] = []
    told = asyncio.Event()

    def hear(update: InferenceStatus) -> None:
        updates.append(update)
        if words in update.detail:
            told.set()

    return updates, told, hear


def test_each_toolchain_of_methods_has_one_here() -> None:
    """No toolchain that makes folders is left out."""
    assert {method(name).toolchain for name in NAMES} == {
        "transformers",
        "llmcompressor",
        "openvino",
        "onnx",
        "gptqmodel",
        "autoround",
    }


@pytest.mark.parametrize("name", NAMES)
async def test_a_tool_is_cancelled_in_time_and_a_killed_agents_job_goes_on(
    name: str, workshop: Workshop, tmp_path: Path
) -> None:
    """Cancelled with the tool at work, nothing is left under its name; killed while judging, what was made is kept."""
    runs = tmp_path / "runs"
    asked = {"cmd": "QUANTIZE_MODEL", "model": MODEL, "method": name, "constraints": {"max_quality_loss": 0.5}}
    async with Broker(tmp_path / "broker") as broker:
        async with agent(broker.url, runs, workshop, **LITTLE) as first:
            await until_answered(broker.url)
            accepted: list[str] = []
            updates, working, hear = hearing(f"compress-{name}")
            following = asyncio.create_task(send(asked, broker.url, watch=Watch(accepted=accepted.append, status=hear)))
            await asyncio.wait_for(working.wait(), 300)
            since = time.monotonic()
            await send({"cmd": "CANCEL_JOB", "job": accepted[0]}, broker.url)
            await asyncio.wait({following}, timeout=60)
            took = time.monotonic() - since
            assert updates[-1].state is JobState.CANCELLED
            assert took < 5
            assert not (runs / accepted[0] / name).exists()
            assert not list((runs / accepted[0]).glob(".partial-*"))

            updates, judging, hear = hearing("judging")
            following = asyncio.create_task(send(asked, broker.url, watch=Watch(status=hear)))
            await asyncio.wait_for(judging.wait(), 300)
            (notes,) = runs.glob(f"job-*/{name}.json")
            made = notes.stat().st_mtime_ns
            os.killpg(first.process.pid, signal.SIGKILL)
            await first.wait()
        async with agent(broker.url, runs, workshop, **LITTLE):
            sent = await following
    assert sent.terminal is not None
    assert [update.state.terminal for update in updates].count(True) == 1
    assert notes.stat().st_mtime_ns == made
    report = QualityReport.model_validate_json((notes.parent / "report.json").read_bytes())
    assert report.artifact is not None
    assert report.artifact.method == name
    assert report.artifact.sample
