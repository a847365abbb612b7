"""llama.cpp's server: healthy when entered, gone when left, its death told in words; load is measured honestly."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import psutil
import pytest

from executors.measure.builtin import BuiltIn
from executors.measure.client import Client, connected
from executors.measure.load import measure
from executors.measure.resources import metered
from executors.serve.engine import Endpoint, tokens
from executors.serve.llamacpp import ENGINE, drafted, serve
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


async def test_a_death_that_the_work_did_not_notice_is_told(llamacpp: Toolchain, shipped: Path, tmp_path: Path) -> None:
    """Work that ends just as the engine dies is no result: its requests may have failed by that death."""

    async def kill_at_the_end() -> None:
        async with serve(STRATEGY, shipped, python=llamacpp.python, log=tmp_path / "log") as endpoint:
            (server,) = psutil.Process(endpoint.pid).children()
            server.kill()

    with pytest.raises(AgentError, match="ended by signal 9") as caught:
        await kill_at_the_end()
    assert caught.value.code is ErrorCode.ENGINE_FAILED


async def test_an_engine_that_is_gone_uses_nothing() -> None:
    """A level that begins when the engine has just died is metered all the same: its requests say what happened."""
    gone = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await gone.wait()
    async with metered(Endpoint("http://127.0.0.1:9", "m", gone.pid, 0)) as meter:
        pass
    used = meter.result(0, float("inf"))
    assert (used.engine_cpu_seconds, used.rss_peak_mb, used.engine) == (0, 0, None)


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


@pytest.mark.parametrize(
    "changes",
    [
        {"kv_format": "Q8_0"},
        {"kv_format": "Q4_0"},
        {"prefix_caching": True},
        {"speculation": "ngram", "guesses": 3},
    ],
    ids=str,
)
async def test_every_setting_of_a_strategy_serves(
    changes: dict[str, object], llamacpp: Toolchain, shipped: Path, tmp_path: Path
) -> None:
    """Narrower caches, a kept prefix and guesses out of the text all answer with as many tokens as were asked for."""
    strategy = STRATEGY.model_copy(update=changes)
    async with serve(strategy, shipped, python=llamacpp.python, log=tmp_path / "log") as endpoint:
        answer = await complete(endpoint, await tokens(endpoint, "One two three four one two three four " * 4), 8)
    assert answer["tokens_predicted"] == 8


async def test_a_draft_model_guesses_what_the_model_would_say(
    llamacpp: Toolchain, shipped: Path, base: Path, tmp_path: Path
) -> None:
    """With a smaller form of itself as a draft the model says the same words, and some guesses were taken."""
    said = []
    for chosen in (ENGINE, drafted(shipped)):
        async with chosen.serve(STRATEGY, base, python=llamacpp.python, log=tmp_path / "log") as endpoint:
            prompt = await tokens(endpoint, "The capital of France is")
            answer = await complete(endpoint, prompt, 24)
            said.append(answer["content"])
            drafts = answer["timings"].get("draft_n_accepted", 0)
    assert said[0] == said[1]
    assert drafts > 0


def test_layers_go_where_the_strategy_says(tmp_path: Path) -> None:
    """None to an accelerator on this host, all of them where there is one."""
    model = tmp_path / "m.gguf"
    model.touch()
    on_gpu = STRATEGY.model_copy(update={"accelerator": "H100-SXM"})
    layers = [ENGINE.validate(strategy, model).model_dump()["gpu_layers"] for strategy in (STRATEGY, on_gpu)]
    assert layers == [0, 999]


async def complete(endpoint: Endpoint, prompt: list[int], count: int) -> dict[str, Any]:
    """What llama.cpp's own completion says, with its figures."""
    body = {"prompt": prompt, "n_predict": count, "temperature": 0, "ignore_eos": True}
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        answer = await session.post(endpoint.url + "/completion", json=body)
        return dict(await answer.json())
