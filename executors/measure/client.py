"""One side of a load test: prompts out as streaming completions in OpenAI's manner, timed rows back."""

import time
from collections.abc import Sequence
from itertools import chain, cycle, islice
from typing import NamedTuple

import aiohttp
import orjson

from executors.serve.engine import Endpoint
from schemas.measurement import RequestRow, TraceEntry

ERROR_CHARACTERS = 200

Prompt = Sequence[int]


def connected(timeout_s: float) -> aiohttp.ClientSession:
    """A session for any number of open requests, each given up after `timeout_s` seconds."""
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)  # a kept connection may be closing at the server
    return aiohttp.ClientSession(timeout=timeout, connector=connector)


class Ask(NamedTuple):
    """One request: its number, its prompt's token ids, and how many tokens it asks for."""

    number: int
    prompt: Prompt
    output_tokens: int


class Told(NamedTuple):
    """Monotonic times of the first and the last token, how many there were, and how many of the prompt were cached."""

    first: float
    last: float
    tokens: int
    cached: int


class Client:
    """Sends one streaming completion at a time and times its tokens."""

    def __init__(
        self, session: aiohttp.ClientSession, endpoint: Endpoint, prompts: Sequence[Prompt], output_tokens: int
    ) -> None:
        self.endpoint = endpoint
        self._session = session
        self._prompts = prompts
        self._output_tokens = output_tokens
        self._asked = 0

    def next(self, shape: TraceEntry | None = None) -> Ask:
        """What the next request asks: prompts come in turn; `shape` has its tokens where they are not those of all."""
        prompt = self._prompts[self._asked % len(self._prompts)]
        output_tokens = self._output_tokens
        if shape is not None:
            prompt = list(islice(cycle(chain.from_iterable((prompt, *self._prompts))), shape.input_tokens))
            output_tokens = shape.output_tokens
        self._asked += 1
        return Ask(self._asked - 1, prompt, output_tokens)

    async def request(self, start: float, shape: TraceEntry | None = None) -> RequestRow:
        """One request and its row; a failure is a row with its error, never an exception."""
        ask = self.next(shape)
        sent = time.monotonic()
        row = RequestRow(
            index=ask.number,
            start_ms=(sent - start) * 1e3,
            prompt_tokens=len(ask.prompt),
            output_tokens=0,
            ttft_ms=None,
            tpot_ms=None,
            latency_ms=None,
        )
        try:
            told = await self._stream(ask)
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError, ValueError) as error:
            words = f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS]
            return row.model_copy(update={"error": words, "timed_out": isinstance(error, TimeoutError)})
        times = {
            "output_tokens": told.tokens,
            "cached_tokens": told.cached,
            "ttft_ms": (told.first - sent) * 1e3,
            "tpot_ms": (told.last - told.first) * 1e3 / (told.tokens - 1) if told.tokens > 1 else None,
            "latency_ms": (told.last - sent) * 1e3,
        }
        return row.model_copy(update=times)

    async def _stream(self, ask: Ask) -> Told:
        """What one request was answered.

        Raises:
            ValueError: where the answer held no token.
        """
        body = {
            "model": self.endpoint.model,
            "prompt": list(ask.prompt),
            "max_tokens": ask.output_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        first = last = 0.0
        tokens = cached = 0
        async with self._session.post(
            self.endpoint.url + "/v1/completions", json=body, raise_for_status=True
        ) as answer:
            async for line in answer.content:
                if not line.startswith(b"data: {"):
                    continue
                chunk = orjson.loads(line[6:])
                # vLLM's last token comes with the reason for stopping, llama.cpp's before it
                if any(choice.get("finish_reason") is None or choice.get("text") for choice in chunk["choices"]):
                    last = time.monotonic()
                    first = first or last
                    tokens += 1
                usage = chunk.get("usage") or {}
                tokens = usage.get("completion_tokens", tokens)
                cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or cached
        if not first:
            raise ValueError("the engine answered without a token")
        return Told(first, last, tokens, cached)
