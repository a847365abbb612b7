"""llama.cpp's server: healthy when entered, gone when left, its death told in words; load is measured honestly."""

import asyncio
import os
import signal
from pathlib import Path

import orjson
import psutil
import pytest

from executors.measure.builtin import BuiltIn
from executors.measure.client import Client, connected
from executors.measure.load import measure
from executors.serve.engine import Endpoint
from executors.serve.llamacpp import serve, tokens
from executors.toolchain import Toolchain
from schemas.error import AgentError, ErrorCode
from schemas.evidence import Evidence
from schemas.measurement import Arrivals, LevelSpec, LoadLevel, LoadSpec
from schemas.plan import Strategy

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("nothing_left")]
STRATEGY = Strategy(engine="llama.cpp", weight_format="Q4_1", accelerator="host", max_sequences=2, context=256)


async def test_an_engine_is_measured_and_then_gone(llamacpp: Toolchain, shipped: Path, tmp_path: Path) -> None:
    """Every request asks for what it should, every row is kept, percentiles are ordered, the process is gone after."""
    spec = LoadSpec(
        input_tokens=16,
        output_tokens=4,
        warmup_requests=1,
        levels=(
            LevelSpec(arrivals=Arrivals.CONCURRENCY, setting=2, requests=4),
            LevelSpec(arrivals=Arrivals.POISSON, setting=2, requests=3),
        ),
    )
    heard: list[LoadLevel] = []

    async def hear(level: LoadLevel) -> None:
        heard.append(level)

    async with serve(STRATEGY, shipped, python=llamacpp.python, log=tmp_path / "log") as endpoint:
        ids = await tokens(endpoint, "The sea was calm that day, and the ships lay still in the harbour. " * 4)
        prompts = [ids[at : at + 16] for at in range(8)]
        rows = tmp_path / "rows"
        async with connected(60) as session:
            generator = BuiltIn(Client(session, endpoint, prompts, spec.output_tokens))
            report = await measure(endpoint, generator, spec, strategy="x", rows=rows, on_level=hear)
    assert not psutil.pid_exists(endpoint.pid)
    assert tuple(heard) == report.levels
    kept = [orjson.loads(line) for line in rows.read_bytes().splitlines()]
    assert [(row["prompt_tokens"], row["output_tokens"], row["error"]) for row in kept] == [(16, 4, None)] * 7
    for level in report.levels:
        assert (level.completed, level.errors) == (level.requests, 0)
        assert level.latency is not None
        assert level.ttft is not None
        assert level.latency.p50.value <= level.latency.p95.value <= level.latency.p99.value
        assert level.ttft.p50.value < level.latency.p50.value
        assert level.throughput_rps.evidence is Evidence.MEASURED
        assert level.resources.rss_peak_mb > 50
        assert level.resources.gpu_util is None


async def test_an_engine_that_dies_cuts_the_work_short(llamacpp: Toolchain, shipped: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle is `engine_failed` with the signal's number, at once and not after a time-out."""

    async def kill_in_the_middle() -> None:
        async with serve(STRATEGY, shipped, python=llamacpp.python, log=tmp_path / "log") as endpoint:
            os.killpg(endpoint.pid, signal.SIGKILL)
            await asyncio.sleep(60)

    with pytest.raises(AgentError, match="ended by signal 9") as caught:
        await kill_in_the_middle()
    assert caught.value.code is ErrorCode.ENGINE_FAILED


async def test_a_request_to_a_dead_engine_is_an_error_row(tmp_path: Path) -> None:
    """Failures are counted, never hidden: no percentile is made of them."""
    endpoint = Endpoint("http://127.0.0.1:9", "m", os.getpid(), 0)
    spec = LoadSpec(
        input_tokens=4,
        output_tokens=4,
        warmup_requests=1,
        levels=(LevelSpec(arrivals=Arrivals.CONCURRENCY, setting=1, requests=2),),
    )

    async def ignore(_: LoadLevel) -> None:
        pass

    async with connected(5) as session:
        generator = BuiltIn(Client(session, endpoint, [[1, 2]], spec.output_tokens))
        report = await measure(endpoint, generator, spec, strategy="x", rows=tmp_path / "rows", on_level=ignore)
    (level,) = report.levels
    assert (level.completed, level.errors, level.timeouts, level.latency) == (0, 2, 0, None)
    assert level.resources.engine is None


async def test_an_engine_that_is_not_ready_in_time_says_so(llamacpp: Toolchain, shipped: Path, tmp_path: Path) -> None:
    """The wait for a model has an end, and a sentence that says what to do."""
    with pytest.raises(AgentError, match="did not load the model within 0 s; use a smaller model"):
        async with serve(STRATEGY, shipped, python=llamacpp.python, log=tmp_path / "log", ready_timeout_s=0.05):
            pass


async def test_a_file_that_is_no_model_ends_with_the_engines_words(llamacpp: Toolchain, tmp_path: Path) -> None:
    """A damaged file is the engine's failure, told at once."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(AgentError, match=r"llama\.cpp exited with status"):
        async with serve(STRATEGY, broken, python=llamacpp.python, log=tmp_path / "log"):
            pass
