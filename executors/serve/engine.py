"""What every engine gives: an endpoint that answers, and the process behind it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp

from executors.process import Child
from schemas.error import AgentError, ErrorCode

POLL_S = 0.05
AGAIN_S = 1.0
SIGNALLED = 128
"""The guard's exit status is this plus the signal's number where a signal ended the engine."""


@dataclass(frozen=True)
class Endpoint:
    """A served model: OpenAI-compatible at `url`, by process group `pid`; `ready_s` seconds after its start."""

    url: str
    model: str
    pid: int
    ready_s: float


@contextlib.asynccontextmanager
async def watched(child: Child, engine: str) -> AsyncIterator[None]:
    """The body, cut short with the engine's last words where its process ends before the body does.

    Raises:
        AgentError: `engine_failed` where the engine dies.
    """
    body = asyncio.current_task()
    if body is None:
        raise RuntimeError("an engine is watched from a task")
    cancels = 0

    async def watch() -> None:
        nonlocal cancels
        await child.wait()
        while True:  # a library may swallow one: asyncio.wait_for does before Python 3.12
            cancels += 1
            body.cancel()
            await asyncio.sleep(AGAIN_S)

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not cancels or [body.uncancel() for _ in range(cancels)][-1]:
            raise
        raise engine_died(child, engine) from None
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


def engine_died(child: Child, engine: str) -> AgentError:
    """The error for an engine that ended by itself, with its exit status and last log lines."""
    status = child.returncode or 0
    signal = -status if status < 0 else status - SIGNALLED
    how = f"was ended by signal {signal}" if signal > 0 else f"exited with status {status}"
    words = child.tail() or "it wrote nothing"
    return AgentError(ErrorCode.ENGINE_FAILED, f"{engine} {how}; its last lines: {words}")


async def until_healthy(url: str, timeout_s: float) -> None:
    """Wait until `GET /health` answers 200.

    Raises:
        AgentError: `engine_failed` where it does not within `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        while time.monotonic() < deadline:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(url + "/health") as response:
                    if response.status == 200:  # noqa: PLR2004 - OK
                        return
            await asyncio.sleep(POLL_S)
    raise AgentError(
        ErrorCode.ENGINE_FAILED,
        f"the engine was not ready within {timeout_s:.0f} s; use a smaller model or wait longer",
    )
