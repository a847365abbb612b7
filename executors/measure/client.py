"""One side of a load test: prompts out as streaming completions in OpenAI's manner, timed rows back."""

import time
from collections.abc import Sequence
from itertools import chain, cycle, islice

import aiohttp
import orjson

from executors.serve.engine import Endpoint
from schemas.measurement import RequestRow, TraceEntry

REQUEST_TIMEOUT_S = 120.0
ERROR_CHARACTERS = 200

Prompt = Sequence[int]


def connected() -> aiohttp.ClientSession:
    """A session for any number of open requests."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)  # a kept connection may be closing at the server
    return aiohttp.ClientSession(timeout=timeout, connector=connector)


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

    async def request(self, start: float, shape: TraceEntry | None = None) -> RequestRow:
        """One request and its row; a failure is a row with its error, never an exception.

        `shape` has its tokens where they are not those of all requests.
        """
        index, self._sent = self._sent, self._sent + 1
        prompt = self._prompts[index % len(self._prompts)]
        if shape is not None:
            prompt = list(islice(cycle(chain.from_iterable((prompt, *self._prompts))), shape.input_tokens))
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
            first, last, tokens = await self._stream(prompt, shape.output_tokens if shape else self._output_tokens)
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError, ValueError) as error:
            return row.model_copy(update={"error": f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS]})
        times = {
            "output_tokens": tokens,
            "ttft_ms": (first - sent) * 1e3,
            "tpot_ms": (last - first) * 1e3 / (tokens - 1) if tokens > 1 else None,
            "latency_ms": (last - sent) * 1e3,
        }
        return row.model_copy(update=times)

    async def _stream(self, prompt: Prompt, output_tokens: int) -> tuple[float, float, int]:
        """Monotonic times of the first and the last token, and how many there were.

        Raises:
            ValueError: where the answer held no token.
        """
        body = {
            "model": self.endpoint.model,
            "prompt": list(prompt),
            "max_tokens": output_tokens,
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
