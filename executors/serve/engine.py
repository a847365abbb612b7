"""What every engine is: weights and a strategy in, an endpoint that answers out, and the process behind it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson
from pydantic import NonNegativeInt, PositiveInt

from executors.process import NO_LIMITS, Child, Limits
from executors.worker import SCRIPTS, SETTINGS
from schemas.base import Record
from schemas.error import AgentError, ErrorCode
from schemas.plan import Strategy

POLL_S = 0.05
AGAIN_S = 1.0
LAST_WORDS_S = 10.0
"""The death of a process is noticed in milliseconds, on a very busy machine in seconds."""
DECODE_S = 5.0
READY_TIMEOUT_S = 120.0
SIGNALLED = 128
"""The guard's exit status is this plus the signal's number where a signal ended the engine."""


class Launch(Record):
    """What every serving worker is asked; engines add their own."""

    model: Path
    alias: str
    slots: PositiveInt
    context: PositiveInt
    """Tokens of one sequence."""
    batched_tokens: PositiveInt
    threads: PositiveInt
    kv_type: str
    """In the engine's own words."""
    prefix_caching: bool = False
    port: NonNegativeInt = 0
    """On loopback; 0 takes a free one."""


def rendered(strategy: Strategy, weights: Path, kv_type: str) -> Launch:
    """What every engine is asked of a strategy."""
    return Launch(
        model=weights,
        alias=weights.name,
        slots=strategy.max_sequences,
        context=strategy.context,
        batched_tokens=strategy.batched_tokens,
        threads=strategy.threads,
        kv_type=kv_type,
        prefix_caching=strategy.prefix_caching,
    )


@dataclass(frozen=True)
class Endpoint:
    """A served model: OpenAI-compatible at `url`, by process group `pid`; `ready_s` seconds after its start."""

    url: str
    model: str
    pid: int
    ready_s: float


@dataclass(frozen=True)
class Engine:
    """One engine: how it is called, what it loads and how it is started. A file of this package each."""

    name: str
    """As the planner and messages call it."""
    toolchain: str
    script: str
    """Its worker in `executors/workers`: one `Launch` on standard input, `{"url": …}` on standard output."""
    loads: str
    """The engine of `executors/compress/methods.toml` whose artifacts it loads."""
    batching: str
    """How requests share it, in a few words."""
    kv_types: dict[str, str]
    """The planner's cache formats, each in the engine's own words."""
    holds: Callable[[Path], bool]
    """Whether a path looks like weights of its kind."""
    wants: str
    """That kind, for a person."""
    render: Callable[[Strategy, Path, str], Launch]
    """Strategy, weights and cache type in, the worker's request out."""
    judged_as_served: bool = False
    """Whether the gate hears the server itself, because nothing else computes as it does."""
    ready_timeout_s: float = READY_TIMEOUT_S

    @property
    def worker(self) -> Path:
        """The worker's file."""
        return SCRIPTS / f"{self.script}.py"

    def validate(self, strategy: Strategy, weights: Path, refusal: str | None = None) -> Launch:
        """The launch of `weights` as `strategy` says, where the engine can load them.

        `refusal` is what the planner's support matrix says against it.

        Raises:
            AgentError: `unsupported`, before anything is started.
        """
        if refusal is not None:
            raise AgentError(ErrorCode.UNSUPPORTED, refusal)
        if strategy.kv_format not in self.kv_types:
            kept = ", ".join(self.kv_types)
            detail = f"{self.name} keeps no {strategy.kv_format} cache here; it keeps {kept}"
            raise AgentError(ErrorCode.UNSUPPORTED, detail)
        if not self.holds(weights):
            raise AgentError(ErrorCode.UNSUPPORTED, f"{self.name} loads {self.wants}, and {weights.name} is none")
        return self.render(strategy, weights, self.kv_types[strategy.kv_format])

    @contextlib.asynccontextmanager
    async def serve(
        self,
        strategy: Strategy,
        weights: Path,
        *,
        python: Path,
        log: Path,
        limits: Limits = NO_LIMITS,
        ready_timeout_s: float | None = None,
        refusal: str | None = None,
    ) -> AsyncIterator[Endpoint]:
        """Serve `weights` with the interpreter `python` of the engine's toolchain.

        The engine's process group is ended on leaving. Should the engine die before, the body is cut short.

        Raises:
            AgentError: `unsupported` as `validate`; `engine_failed` where the server does not start, is not ready in
                time, or dies while in use.
        """
        launch = self.validate(strategy, weights, refusal)
        wait_s = self.ready_timeout_s if ready_timeout_s is None else ready_timeout_s
        argv = [str(python), "-s", "-E", "-B", str(self.worker)]
        env = SETTINGS | {"OMP_NUM_THREADS": str(launch.threads)}
        child = Child(argv, log=log, env=env, limits=limits, read_output=True)
        started = time.monotonic()
        try:
            await child.start(launch.model_dump_json().encode())
            url = await _address(child, self.name, wait_s)
            async with watched(child, self.name):
                await until_healthy(url, wait_s)
                yield Endpoint(url, launch.alias, child.process.pid, time.monotonic() - started)
                await outlived(url, self.name)
        finally:
            await child.end()


async def tokens(endpoint: Endpoint, text: str) -> list[int]:
    """`text` as the served model's token ids.

    Raises:
        AgentError: `engine_failed` where the engine does not answer.
    """
    # llama.cpp and the adapter read `content`, vLLM reads `prompt`; each leaves the other's name alone
    body = {"model": endpoint.model, "content": text, "prompt": text, "add_special_tokens": False}
    try:
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            answer = await session.post(endpoint.url + "/tokenize", json=body)
            return list(orjson.loads(await answer.read())["tokens"])
    except aiohttp.ClientError as error:
        raise AgentError(ErrorCode.ENGINE_FAILED, f"the engine does not answer /tokenize: {error}") from error


async def text_of(url: str, model: str, ids: Sequence[int]) -> str:
    """Token ids as text, by the engine that serves `model` at `url`.

    Raises:
        AgentError: `engine_failed` where it does not answer.
    """
    body = {"model": model, "tokens": list(ids)}
    try:
        timeout = aiohttp.ClientTimeout(total=DECODE_S)
        async with aiohttp.ClientSession(raise_for_status=True, timeout=timeout) as session:
            answer = orjson.loads(await (await session.post(url + "/detokenize", json=body)).read())
            return str(answer.get("content", answer.get("prompt", "")))  # vLLM calls it prompt, all others content
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise AgentError(ErrorCode.ENGINE_FAILED, f"the engine does not answer /detokenize: {error}") from error


async def metrics(endpoint: Endpoint) -> str:
    """What the engine says of itself, in Prometheus' text form.

    Raises:
        AgentError: `engine_failed` where the engine does not answer.
    """
    try:
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            answer = await session.get(endpoint.url + "/metrics")
            return await answer.text()
    except aiohttp.ClientError as error:
        raise AgentError(ErrorCode.ENGINE_FAILED, f"the engine does not answer /metrics: {error}") from error


def folder_with(*names: str) -> Callable[[Path], bool]:
    """Whether a path is a folder that has a file for each pattern of `names`."""

    def holds(path: Path) -> bool:
        return path.is_dir() and all(next(path.glob(name), None) is not None for name in names)

    return holds


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


async def outlived(url: str, engine: str) -> None:
    """Make sure that the engine lived to the end: a body may end before the death that spoilt it is noticed.

    Raises:
        AgentError: `engine_failed` where nothing listens any more and nobody who watches the engine says why in time.
    """
    with contextlib.suppress(TimeoutError):  # too busy to answer, but there
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LAST_WORDS_S)) as session:
            try:
                async with session.get(url + "/health"):
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(LAST_WORDS_S)
        raise AgentError(ErrorCode.ENGINE_FAILED, f"{engine} does not listen any more")


async def _address(child: Child, engine: str, timeout_s: float) -> str:
    """Where the server listens, from its first line."""
    try:
        async with asyncio.timeout(timeout_s):
            async for line in child.lines():
                return str(orjson.loads(line)["url"])
            await child.wait()
    except TimeoutError:
        detail = f"{engine} did not load the model within {timeout_s:.0f} s; use a smaller model or a faster disk"
        raise AgentError(ErrorCode.ENGINE_FAILED, detail) from None
    raise engine_died(child, engine)
