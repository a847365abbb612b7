"""The engines that are folders' own, served and measured; run by `make test-toolchains` only, not by `make test`."""

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest
from conftest import CACHE

from executors import toolchain
from executors.compress.compress import compress
from executors.measure.builtin import BuiltIn
from executors.measure.client import Client, connected
from executors.measure.load import run_level
from executors.serve.engine import Endpoint, Engine, metrics, text_of, tokens
from executors.serve.llamacpp import ENGINE as LLAMA_CPP
from executors.serve.registry import engine
from executors.texts import Texts
from executors.toolchain import Toolchain
from executors.worker import Workbench
from schemas.error import AgentError, ErrorCode
from schemas.measurement import Arrivals, LevelSpec
from schemas.plan import Strategy

pytestmark = [pytest.mark.real, pytest.mark.timeout(900), pytest.mark.usefixtures("nothing_left")]
MADE = {
    "ctranslate2": ("ct2-int8", "transformers", "INT8"),
    "onnxruntime": ("ort-genai-int4", "transformers", "INT4"),
    "openvino": ("openvino-int8", "openvino", "INT8"),
    "vllm": ("safetensors", "transformers", "FP16"),
}
TEXT = "The sea was calm that day, and the ships lay still in the harbour. " * 4


def strategy(name: str) -> Strategy:
    """Four slots, one thread."""
    form = MADE[name][2]
    return Strategy(engine=name, weight_format=form, accelerator="host", max_sequences=4, context=256)


def python(chosen: Engine) -> Path:
    """The interpreter of an engine's toolchain, which must be there."""
    return toolchain.find(chosen.toolchain, CACHE).python


@pytest.fixture(scope="module")
def made(shipped: Path, halves: Texts, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every engine's weights."""
    root = tmp_path_factory.mktemp("made")

    def make(name: str, tools: str, source: Path) -> Path:
        bench = Workbench(toolchain.find(tools, CACHE), 1, root / "log")
        asyncio.run(compress(name, source, root / name, calibration=halves.calibration, bench=bench))
        return root / name

    folder = make("safetensors", "transformers", shipped)
    return {
        name: folder if method == "safetensors" else make(method, tools, folder)
        for name, (method, tools, _) in MADE.items()
    }


@pytest.mark.parametrize("name", MADE)
async def test_an_engine_serves_as_llama_cpp_does(
    name: str, made: dict[str, Path], llamacpp: Toolchain, base: Path, tmp_path: Path
) -> None:
    """The same token ids of a text, every request answered in full at one and at four open, and gone afterwards."""
    chosen = engine(name)
    own = {"python": llamacpp.python, "log": tmp_path / "log-llama"}
    plain = strategy(name).model_copy(update={"engine": "llama.cpp"})
    async with LLAMA_CPP.serve(plain, base, **own) as endpoint:
        expected = await tokens(endpoint, TEXT)
    async with chosen.serve(strategy(name), made[name], python=python(chosen), log=tmp_path / "log") as endpoint:
        ids = await tokens(endpoint, TEXT)
        read = await text_of(endpoint.url, endpoint.model, ids)
        async with connected(120) as session:
            generator = BuiltIn(Client(session, endpoint, [ids[at : at + 16] for at in range(8)], 6))
            levels = [
                await run_level(endpoint, generator, level, seed=1, rows=tmp_path / "rows")
                for level in (
                    LevelSpec(arrivals=Arrivals.CONCURRENCY, setting=1, requests=2),
                    LevelSpec(arrivals=Arrivals.CONCURRENCY, setting=4, requests=8),
                )
            ]
        said = await metrics(endpoint)
    assert (ids, read) == (expected, TEXT)
    assert [(level.completed, level.errors) for level in levels] == [(2, 0), (8, 0)]
    for level in levels:
        assert level.ttft is not None
        assert level.tpot is not None
        assert level.output_tokens_s.value * level.duration_s == pytest.approx(6 * level.completed)
        assert level.resources.engine is not None
        assert level.resources.engine.generated_tokens == 6 * level.completed
    assert "_total" in said
    assert not psutil.pid_exists(endpoint.pid)


@pytest.mark.parametrize("name", MADE)
async def test_an_engine_that_is_killed_cuts_the_work_short(name: str, made: dict[str, Path], tmp_path: Path) -> None:
    """SIGKILL to the worker itself in the middle of a load is `engine_failed`, and nothing of it is left."""
    chosen = engine(name)

    async def load(endpoint: Endpoint) -> None:
        async with connected(120) as session:
            generator = BuiltIn(Client(session, endpoint, [[5, 6, 7, 8]], 200))
            level = LevelSpec(arrivals=Arrivals.CONCURRENCY, setting=4, requests=64)
            await run_level(endpoint, generator, level, seed=1, rows=tmp_path / "rows")

    async def kill_in_the_middle() -> None:
        async with chosen.serve(strategy(name), made[name], python=python(chosen), log=tmp_path / "log") as endpoint:
            loading = asyncio.create_task(load(endpoint))
            try:
                await asyncio.sleep(2)
                (worker,) = psutil.Process(endpoint.pid).children()
                os.kill(worker.pid, signal.SIGKILL)
                await asyncio.sleep(60)
            finally:
                loading.cancel()
                await asyncio.gather(loading, return_exceptions=True)

    with pytest.raises(AgentError, match=f"{name} was ended by signal 9") as caught:
        await kill_in_the_middle()
    assert caught.value.code is ErrorCode.ENGINE_FAILED


@pytest.mark.parametrize("name", MADE)
async def test_weights_that_cannot_be_loaded_are_the_engines_failure(
    name: str, made: dict[str, Path], tmp_path: Path
) -> None:
    """Cut short on the disk, they end the start with the engine's own words."""
    chosen = engine(name)
    broken = tmp_path / "broken"
    broken.mkdir()
    largest = max(made[name].iterdir(), key=lambda path: path.stat().st_size)
    for path in made[name].iterdir():
        content = path.read_bytes()
        (broken / path.name).write_bytes(content[: len(content) // 2] if path == largest else content)
    with pytest.raises(AgentError, match=f"{name} (exited|was ended)") as caught:
        async with chosen.serve(strategy(name), broken, python=python(chosen), log=tmp_path / "log"):
            pass
    assert caught.value.code is ErrorCode.ENGINE_FAILED


async def test_the_adapter_refuses_what_it_cannot_serve(made: dict[str, Path], tmp_path: Path) -> None:
    """No prompt, unknown tokens, too long an answer, no JSON: 400 with a sentence; a text and no stream are served."""
    chosen = engine("ctranslate2")
    wrong: list[object] = [
        {},
        {"prompt": []},
        {"prompt": ["x"]},
        {"prompt": [10**9]},
        {"prompt": [5], "max_tokens": 10**6},
        {"prompt": [5], "max_tokens": 0},
        [],
    ]
    served = chosen.serve(strategy("ctranslate2"), made["ctranslate2"], python=python(chosen), log=tmp_path / "log")
    async with served as endpoint, connected(60) as session:
        for body in wrong:
            answer = await session.post(endpoint.url + "/v1/completions", json=body)
            assert answer.status == 400
            assert (await answer.json())["error"]["message"]
        body = {"prompt": "The capital of France is", "max_tokens": 4, "temperature": 0}
        answer = await session.post(endpoint.url + "/v1/completions", json=body)
        said = await answer.json()
    assert "Paris" in said["choices"][0]["text"]
    assert said["usage"]["completion_tokens"] == 4
