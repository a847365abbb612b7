"""A load test: an endpoint and a specification in, latency percentiles and rates out; every raw row is kept.

An OpenAI-style streaming client: warm-up, fixed seeds, closed-loop concurrency and open-loop Poisson arrivals.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp
import numpy as np
import orjson

from executors.measure.resources import metered
from executors.measure.statistics import observed, percentiles
from executors.serve.engine import Endpoint
from schemas.measurement import Arrivals, LevelSpec, LoadLevel, LoadReport, LoadSpec, RequestRow

REQUEST_TIMEOUT_S = 120.0
ERROR_CHARACTERS = 200

Prompt = Sequence[int]
OnLevel = Callable[[LoadLevel], Awaitable[None]]


async def measure(
    endpoint: Endpoint, prompts: Sequence[Prompt], spec: LoadSpec, *, strategy: str, rows: Path, on_level: OnLevel
) -> LoadReport:
    """Warm up, run every level, write each request to `rows` (JSON lines), call `on_level` after each level.

    `prompts` are token ids, used in turn; each asks for exactly `spec.output_tokens` tokens, greedily.
    """
    levels = []
    rows.unlink(missing_ok=True)  # an attempt that was cut short may have left some
    async with connected() as session:
        client = Client(session, endpoint, prompts, spec.output_tokens)
        for _ in range(spec.warmup_requests):
            await client.request(time.monotonic())
        for number, level in enumerate(spec.levels):
            levels.append(await run_level(client, level, spec.seed + number, rows))
            await on_level(levels[-1])
    return LoadReport(
        strategy=strategy,
        input_tokens=spec.input_tokens,
        output_tokens=spec.output_tokens,
        warmup_requests=spec.warmup_requests,
        ready_s=endpoint.ready_s,
        levels=tuple(levels),
    )


def connected() -> aiohttp.ClientSession:
    """A session for any number of open requests."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)  # a kept connection may be closing at the server
    return aiohttp.ClientSession(timeout=timeout, connector=connector)


async def run_level(client: "Client", level: LevelSpec, seed: int, rows: Path) -> LoadLevel:
    """Run one level and sum it up."""
    drive = _closed_loop if level.arrivals is Arrivals.CONCURRENCY else _poisson
    async with metered(client.endpoint.pid) as meter:
        start = time.monotonic()
        done = [row async for row in drive(client, level, seed, start)]
        duration = time.monotonic() - start
        resources = meter.result()
    with rows.open("ab") as out:
        named = {"arrivals": level.arrivals, "setting": level.setting}
        out.writelines(orjson.dumps(named | row.model_dump(), option=orjson.OPT_APPEND_NEWLINE) for row in done)
    complete = [row for row in done if row.error is None]
    source = f"{level.arrivals.value} {level.setting:g}"
    return LoadLevel(
        arrivals=level.arrivals,
        setting=level.setting,
        seed=seed,
        duration_s=duration,
        requests=len(done),
        completed=len(complete),
        errors=len(done) - len(complete),
        throughput_rps=observed(len(complete) / duration, "requests/s", source),
        output_tokens_s=observed(sum(row.output_tokens for row in complete) / duration, "tokens/s", source),
        ttft=percentiles([row.ttft_ms for row in complete if row.ttft_ms is not None], source),
        tpot=percentiles([row.tpot_ms for row in complete if row.tpot_ms is not None], source),
        latency=percentiles([row.latency_ms for row in complete if row.latency_ms is not None], source),
        resources=resources,
    )


async def _closed_loop(client: "Client", level: LevelSpec, _seed: int, start: float) -> AsyncIterator[RequestRow]:
    """`setting` requests always open, until enough were sent or the time is up."""
    left = level.requests
    pending: set[asyncio.Task[RequestRow]] = set()
    try:
        while left or pending:
            while left and len(pending) < level.setting:
                pending.add(asyncio.create_task(client.request(start)))
                left -= 1
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
            if time.monotonic() - start > level.limit_s:
                left = 0
    finally:
        await _drop(pending)


async def _poisson(client: "Client", level: LevelSpec, seed: int, start: float) -> AsyncIterator[RequestRow]:
    """Open loop: exponential gaps of mean 1/`setting` seconds, whatever the answers take."""
    gaps = np.random.default_rng(seed).exponential(1 / level.setting, level.requests)
    arrivals = [at for at in np.cumsum(gaps) - gaps[0] if at <= level.limit_s]

    async def at(offset: float) -> RequestRow:
        await asyncio.sleep(max(0.0, start + offset - time.monotonic()))
        return await client.request(start)

    tasks = {asyncio.create_task(at(float(offset))) for offset in arrivals}
    try:
        for task in asyncio.as_completed(tasks):
            yield await task
    finally:
        await _drop(tasks)


async def _drop(tasks: set[asyncio.Task[RequestRow]]) -> None:
    """End what is still under way when a level is cut short."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Client:
    """Sends one streaming completion at a time and times its tokens."""

    def __init__(
        self, session: aiohttp.ClientSession, endpoint: Endpoint, prompts: Sequence[Prompt], output_tokens: int
    ) -> None:
        self.endpoint = endpoint
        self._session = session
        self._prompts = prompts
        self._output_tokens = output_tokens
        self._sent = 0

    async def request(self, start: float) -> RequestRow:
        """One request and its row; a failure is a row with its error, never an exception."""
        index, self._sent = self._sent, self._sent + 1
        prompt = self._prompts[index % len(self._prompts)]
        sent = time.monotonic()
        row = RequestRow(
            index=index,
            start_ms=(sent - start) * 1e3,
            prompt_tokens=len(prompt),
            output_tokens=0,
            ttft_ms=None,
            tpot_ms=None,
            latency_ms=None,
        )
        try:
            first, last, tokens = await self._stream(prompt)
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError, ValueError) as error:
            return row.model_copy(update={"error": f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS]})
        times = {
            "output_tokens": tokens,
            "ttft_ms": (first - sent) * 1e3,
            "tpot_ms": (last - first) * 1e3 / (tokens - 1) if tokens > 1 else None,
            "latency_ms": (last - sent) * 1e3,
        }
        return row.model_copy(update=times)

    async def _stream(self, prompt: Prompt) -> tuple[float, float, int]:
        """Monotonic times of the first and the last token, and how many there were.

        Raises:
            ValueError: where the answer held no token.
        """
        body = {
            "model": self.endpoint.model,
            "prompt": list(prompt),
            "max_tokens": self._output_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        first = last = 0.0
        tokens = 0
        async with self._session.post(
            self.endpoint.url + "/v1/completions", json=body, raise_for_status=True
        ) as answer:
            async for line in answer.content:
                if not line.startswith(b"data: {"):
                    continue
                chunk = orjson.loads(line[6:])
                if any(choice.get("finish_reason") is None for choice in chunk["choices"]):
                    last = time.monotonic()
                    first = first or last
                    tokens += 1
                tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
        if not first:
            raise ValueError("the engine answered without a token")
        return first, last, tokens
