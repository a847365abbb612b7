"""guidellm as the load generator: a level's arrivals in, its per-request report as our rows out.

Its own TPOT divides the whole latency by all tokens, the first one included; rows here have the time between tokens
after the first, like those of the built-in client. Rates are replayed from the same seeded arrivals as the built-in
client's, so that both put the same load on.
"""

import time
from pathlib import Path
from typing import Literal

import aiohttp
import orjson

from executors.measure.builtin import BuiltIn, arrivals
from executors.measure.client import ERROR_CHARACTERS, Prompt
from executors.measure.load import Sent
from executors.worker import Workbench, Worker
from schemas.base import Record
from schemas.error import AgentError, ErrorCode
from schemas.measurement import Arrivals, LevelSpec, RequestRow, TraceEntry

TOOLCHAIN = "guidellm"
MOST_REQUESTS = 20_000
"""Of one level: its prompts lie in a file."""
LEAD_S = 3.0
"""Before the first replayed request: what comes while guidellm still starts its processes would come at once."""
TIMED_OUT = "timeout"


class _Request(Record):
    """What `workers/guidellm_load.py` is asked."""

    url: str
    model: str
    streams: int | None
    """Requests always open; None where each comes at the time that the data says."""
    data: Path
    requests: int
    seconds: float
    timeout_s: float


class _Answer(Record):
    """One request as it went. Seconds since the epoch."""

    event: Literal["request"]
    start_s: float
    end_s: float
    first_s: float | None
    last_s: float | None
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int
    error: str | None


class Guidellm:
    """Sends a level's requests with guidellm; warms up with the built-in client."""

    def __init__(self, built_in: BuiltIn, *, timeout_s: float, bench: Workbench, folder: Path) -> None:
        """`bench` has the toolchain; `folder` keeps the prompts as guidellm got them."""
        self._built_in = built_in
        self._timeout_s = timeout_s
        self._bench = bench
        self._data = folder / f"{bench.log.stem}.prompts.jsonl"
        self._texts: dict[tuple[int, ...], str] = {}

    @property
    def name(self) -> str:
        """With its version."""
        stamp = self._bench.toolchain.stamp
        packages = stamp.packages if stamp else ()
        return next((one.replace("==", " ") for one in packages if one.startswith("guidellm==")), TOOLCHAIN)

    async def warm_up(self, requests: int) -> None:
        """As the built-in client does."""
        await self._built_in.warm_up(requests)

    async def send(self, level: LevelSpec, seed: int) -> Sent:
        """Every request of the level, in the order of their starts.

        Raises:
            AgentError: `tool_failed` where guidellm does not come to an end, `engine_failed` where no text is got.
        """
        client, closed = self._built_in.client, level.arrivals is Arrivals.CONCURRENCY
        lines = await self._lines(level, seed)
        self._data.write_bytes(b"\n".join(map(orjson.dumps, lines)))
        request = _Request(
            url=client.endpoint.url,
            model=client.endpoint.model,
            streams=int(level.setting) if closed else None,
            data=self._data,
            requests=len(lines) - 1,
            # The last arrivals of an open loop are answered after its time.
            seconds=level.limit_s if closed else level.limit_s + LEAD_S + self._timeout_s,
            timeout_s=self._timeout_s,
        )
        async with Worker(self._bench, "guidellm_load", request, _Answer) as worker:
            told = sorted([answer async for answer in worker.answers()], key=lambda answer: answer.start_s)
        if not told:
            raise AgentError(ErrorCode.TOOL_FAILED, f"guidellm sent no request; see {self._bench.log}")
        origin = told[0].start_s
        ends = max(answer.end_s for answer in told)
        rows = [_row(index, answer, origin) for index, answer in enumerate(told)]
        return Sent(rows, time.monotonic() - (time.time() - origin), ends - origin)

    async def _lines(self, level: LevelSpec, seed: int) -> list[dict[str, str | int | float]]:
        """The level's requests as guidellm reads them, a line each, with their time where they have one.

        The last one is there twice: guidellm 0.8.1 ends when its data does, and may then leave the last line out.
        """
        due: list[tuple[float | None, TraceEntry | None]] = [(None, None)] * min(level.requests, MOST_REQUESTS)
        if level.arrivals is not Arrivals.CONCURRENCY:
            due = list(arrivals(level, seed)[:MOST_REQUESTS])
        lines: list[dict[str, str | int | float]] = []
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            for at, shape in due:
                ask = self._built_in.client.next(shape)
                line: dict[str, str | int | float] = {
                    "prompt": await self._text(session, ask.prompt),
                    "output_tokens_count": ask.output_tokens,
                }
                lines.append(line if at is None else {**line, "relative_timestamp": LEAD_S + at})
        return [*lines, lines[-1]]

    async def _text(self, session: aiohttp.ClientSession, prompt: Prompt) -> str:
        """A prompt as text: guidellm sends no token ids. Tokenized again it may differ by a token or two."""
        key = tuple(prompt)
        if key not in self._texts:
            endpoint = self._built_in.client.endpoint
            body = {"model": endpoint.model, "tokens": list(prompt)}
            try:
                async with session.post(endpoint.url + "/detokenize", json=body, raise_for_status=True) as answer:
                    told = orjson.loads(await answer.read())
            except aiohttp.ClientError as error:
                detail = f"the engine does not turn tokens into text, which guidellm needs: {error}"
                raise AgentError(ErrorCode.ENGINE_FAILED, detail) from error
            self._texts[key] = str(told.get("content") or told.get("prompt"))  # llama.cpp's name for it, vLLM's
        return self._texts[key]


def _row(index: int, answer: _Answer, origin: float) -> RequestRow:
    """One answer as our row: TTFT and latency from the start of sending, TPOT without the first token."""
    row = RequestRow(
        index=index,
        start_ms=(answer.start_s - origin) * 1e3,
        prompt_tokens=answer.prompt_tokens,
        output_tokens=answer.output_tokens,
        cached_tokens=answer.cached_tokens,
        ttft_ms=None,
        tpot_ms=None,
        latency_ms=None,
    )
    first, last, tokens = answer.first_s, answer.last_s, answer.output_tokens
    if answer.error or first is None or last is None:
        words = answer.error or "the engine answered without a token"
        timed_out = TIMED_OUT in words.casefold()
        return row.model_copy(update={"error": words[:ERROR_CHARACTERS], "timed_out": timed_out, "output_tokens": 0})
    times = {
        "ttft_ms": (first - answer.start_s) * 1e3,
        "tpot_ms": (last - first) * 1e3 / (tokens - 1) if tokens > 1 else None,
        "latency_ms": (last - answer.start_s) * 1e3,
    }
    return row.model_copy(update=times)
