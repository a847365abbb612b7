"""QUANTIZE_MODEL and EVALUATE_QUALITY with the heavy toolchains, over NATS; run by `make test-toolchains` only."""

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import pytest
from closing.agent import SMALL, agent
from closing.test_resume import agent as agent_process
from closing.test_resume import until_answered
from conftest import CACHE

from cli.send import Watch, send
from executors.broker import Broker
from executors.toolchain import Toolchain
from handlers.workshop import Workshop
from schemas.error import AgentError, ErrorCode
from schemas.findings import ComparisonReport, PerformanceReport, QualityReport
from schemas.measurement import GateVerdict
from schemas.status import InferenceStatus, JobState, StepKind

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def workshop(llamacpp: Toolchain, shipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The installed toolchains, the real model, small effort."""
    assert llamacpp.python.exists()
    memory = tmp_path_factory.mktemp("memory")
    return Workshop(cache=CACHE, model_roots=(shipped.parent,), memory=memory, effort=SMALL)


async def test_a_folder_is_made_and_judged_again_by_another_job(workshop: Workshop, tmp_path: Path) -> None:
    """8 bits by CTranslate2 within a wide limit: progress of the tool itself, a verdict; then judged from its job."""
    updates: list[InferenceStatus] = []
    wide, narrow = {"max_quality_loss": 0.5}, {"max_quality_loss": 0.0}
    async with agent(tmp_path, workshop) as url:
        asked = {"cmd": "QUANTIZE_MODEL", "model": MODEL, "method": "ct2-int8", "constraints": wide}
        made = await send(asked, url, watch=Watch(status=updates.append))
        assert made.job is not None
        again = {
            "cmd": "EVALUATE_QUALITY",
            "model": MODEL,
            "candidate": "ct2-int8",
            "job": made.job,
            "constraints": narrow,
        }
        judged = await send({**again, "constraints": narrow}, url, watch=Watch())
        assert judged.job is not None
    report, second = (
        QualityReport.model_validate_json((tmp_path / job / "report.json").read_bytes())
        for job in (made.job, judged.job)
    )
    assert report.gate.verdict is GateVerdict.PASSED
    assert report.artifact is not None
    assert (report.artifact.engine, report.artifact.dequantised_from) == ("ctranslate2", "Q4_1")
    assert report.artifact.sample
    assert (tmp_path / made.job / "ct2-int8").is_dir()
    assert any(update.phase is StepKind.VALIDATION and "scored tokens" in update.detail for update in updates)
    assert second.gate.verdict is not GateVerdict.PASSED
    assert second.candidate == "ct2-int8"


@pytest.mark.usefixtures("nothing_left")
async def test_a_killed_agents_folder_job_goes_on_at_the_last_finished_step(workshop: Workshop, tmp_path: Path) -> None:
    """Kill -9 while the folder is judged: the next agent judges it, and makes neither baseline nor candidate again."""
    runs, judging = tmp_path / "runs", asyncio.Event()
    updates: list[InferenceStatus] = []

    def hear(update: InferenceStatus) -> None:
        updates.append(update)
        if update.detail.startswith("judging"):
            judging.set()

    asked = {"cmd": "QUANTIZE_MODEL", "model": MODEL, "method": "ct2-int8", "constraints": {"max_quality_loss": 0.5}}
    async with Broker(tmp_path / "broker") as broker:
        async with agent_process(broker.url, runs, workshop) as first:
            await until_answered(broker.url)
            following = asyncio.create_task(send(asked, broker.url, watch=Watch(status=hear)))
            await asyncio.wait_for(judging.wait(), 300)
            made = {path: path.stat().st_mtime_ns for path in runs.glob("job-*/*.json") if path.stem != "command"}
            os.killpg(first.process.pid, signal.SIGKILL)
            await first.wait()
        async with agent_process(broker.url, runs, workshop):
            sent = await following
    assert sent.terminal is not None
    assert {path.stem for path in made} >= {"safetensors", "ct2-int8"}
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert [update.state.terminal for update in updates].count(True) == 1
    assert updates[-1].state is JobState.COMPLETED
    assert not list(runs.glob("job-*/.partial-*"))


async def test_a_tool_at_work_is_cancelled_within_five_seconds(workshop: Workshop, tmp_path: Path) -> None:
    """GPTQ under way: CANCEL_JOB ends it, its process group too, and nothing is left under a final name."""
    asked = {"cmd": "QUANTIZE_MODEL", "model": MODEL, "method": "gptq-w4a16"}
    busy = asyncio.Event()
    updates: list[InferenceStatus] = []

    def heard(update: InferenceStatus) -> None:
        updates.append(update)
        if update.phase is StepKind.OPTIMIZATION and "compress-gptq" in update.detail:
            busy.set()

    async with agent(tmp_path, workshop) as url:
        accepted: list[str] = []
        following = asyncio.create_task(send(asked, url, watch=Watch(accepted=accepted.append, status=heard)))
        await asyncio.wait_for(busy.wait(), 300)
        since = time.monotonic()
        await send({"cmd": "CANCEL_JOB", "job": accepted[0]}, url)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(following, 10)
        took = time.monotonic() - since
    assert updates[-1].state is JobState.CANCELLED
    assert took < 5
    assert not (tmp_path / accepted[0] / "gptq-w4a16").exists()


async def test_a_folder_is_loaded_by_the_engine_that_is_named(workshop: Workshop, tmp_path: Path) -> None:
    """BENCHMARK_INFERENCE makes the weights an engine wants; a folder of another job is served as it is, or refused."""
    load = {"concurrency": [2], "requests": 4}
    async with agent(tmp_path, workshop) as url:
        asked = {"cmd": "BENCHMARK_INFERENCE", "model": MODEL, "engine": "ct2", "load": load}
        first = await send(asked, url, watch=Watch())
        wide = {"max_quality_loss": 0.5}
        made = await send(
            {"cmd": "QUANTIZE_MODEL", "model": MODEL, "method": "ort-genai-int4", "constraints": wide},
            url,
            watch=Watch(),
        )
        again = {"cmd": "BENCHMARK_INFERENCE", "model": "ort-genai-int4", "job": made.job, "load": load}
        second = await send(again, url, watch=Watch())
        with pytest.raises(AgentError, match="openvino does not load what ort-genai-int4 makes") as caught:
            await send({**again, "engine": "openvino"}, url, watch=Watch())
    assert caught.value.code is ErrorCode.UNSUPPORTED
    for sent, engine in ((first, "ctranslate2"), (second, "onnxruntime")):
        assert sent.job is not None
        report = PerformanceReport.model_validate_json((tmp_path / sent.job / "report.json").read_bytes())
        assert report.strategy.engine == engine
        assert [(level.completed, level.errors) for level in report.load.levels] == [(4, 0)]


@pytest.mark.parametrize("other", ["ctranslate2 INT8", "vllm FP16"])
async def test_engines_are_compared_with_each_other(other: str, workshop: Workshop, tmp_path: Path) -> None:
    """llama.cpp's F16 against another: both served, a verdict on the pair; vLLM's untouched weights are judged too.

    It computes them in bfloat16, which is not what the gate holds them against.
    """
    asked = {"cmd": "COMPARE_STRATEGIES", "model": MODEL, "strategies": ["llama.cpp F16", other]}
    async with agent(tmp_path, workshop) as url:
        sent = await send(asked, url, watch=Watch())
    assert sent.job is not None
    report = ComparisonReport.model_validate_json((tmp_path / sent.job / "report.json").read_bytes())
    assert [one.strategy.engine for one in report.contenders] == ["llama.cpp", other.partition(" ")[0]]
    assert [one.gate is None for one in report.contenders] == [True, False]
    assert report.contenders[1].verdict is not None
