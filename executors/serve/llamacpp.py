"""llama.cpp's server with continuous batching: a strategy and a GGUF file in, a loopback endpoint out."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson

from executors.process import NO_LIMITS, Child, Limits
from executors.serve.engine import Endpoint, engine_died, until_healthy, watched
from schemas.error import AgentError, ErrorCode
from schemas.plan import Strategy

WORKER = Path(__file__).parents[1] / "workers" / "llamacpp_serve.py"
KV_TYPES = {"FP16": "F16", "INT8": "Q8_0"}
READY_TIMEOUT_S = 120.0
ENGINE = "llama.cpp"


def request(strategy: Strategy, model: Path, port: int = 0) -> bytes:
    """What `workers/llamacpp_serve.py` is asked; port 0 takes a free one."""
    return orjson.dumps(
        {
            "model": str(model),
            "alias": model.stem,
            "slots": strategy.max_sequences,
            "context": strategy.context,
            "batched_tokens": strategy.batched_tokens,
            "threads": strategy.threads,
            "kv_type": KV_TYPES[strategy.kv_format],
            "prefix_caching": strategy.prefix_caching,
            "port": port,
        }
    )


@contextlib.asynccontextmanager
async def serve(
    strategy: Strategy,
    model: Path,
    *,
    python: Path,
    log: Path,
    ready_timeout_s: float = READY_TIMEOUT_S,
    limits: Limits = NO_LIMITS,
) -> AsyncIterator[Endpoint]:
    """Serve `model` as `strategy` says, with the interpreter `python` of the `llamacpp` toolchain.

    The engine's process group is ended on leaving. Should the engine die before, the body is cut short.

    Raises:
        AgentError: `engine_failed` where the server does not start, is not ready in time, or dies while in use.
    """
    child = Child([str(python), str(WORKER)], log=log, limits=limits, read_output=True)
    started = time.monotonic()
    try:
        await child.start(request(strategy, model))
        url = await _address(child, ready_timeout_s)
        async with watched(child, ENGINE):
            await until_healthy(url, ready_timeout_s)
            yield Endpoint(url, model.stem, child.process.pid, time.monotonic() - started)
    finally:
        await child.end()


async def tokens(endpoint: Endpoint, text: str) -> list[int]:
    """`text` as the served model's token ids.

    Raises:
        AgentError: `engine_failed` where the engine does not answer.
    """
    try:
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            answer = await session.post(endpoint.url + "/tokenize", json={"content": text})
            return list(orjson.loads(await answer.read())["tokens"])
    except aiohttp.ClientError as error:
        raise AgentError(ErrorCode.ENGINE_FAILED, f"{ENGINE} does not answer /tokenize: {error}") from error


async def _address(child: Child, timeout_s: float) -> str:
    """Where the server listens, from its first line."""
    try:
        async with asyncio.timeout(timeout_s):
            async for line in child.lines():
                return str(orjson.loads(line)["url"])
            await child.wait()
    except TimeoutError:
        detail = f"{ENGINE} did not load the model within {timeout_s:.0f} s; use a smaller model or a faster disk"
        raise AgentError(ErrorCode.ENGINE_FAILED, detail) from None
    raise engine_died(child, ENGINE)
