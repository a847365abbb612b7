"""People who use a deployment: prompts at a steady rate through its gateway, and how each request went."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Went:
    """One request: seconds since 1970 when it was sent, milliseconds, and why it failed if it did."""

    at_s: float
    ms: float
    error: str = ""


@dataclass
class Crowd:
    """A steady stream of completions; `rate` may change while it runs."""

    url: str
    prompts: Sequence[str]
    rate: float
    output_tokens: int = 4
    headers: Mapping[str, str] = field(default_factory=dict)
    went: list[Went] = field(default_factory=list)

    @property
    def failed(self) -> list[Went]:
        """What was not answered well."""
        return [one for one in self.went if one.error]

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator["Crowd"]:
        """Ask while the body lasts; requests under way are waited for at its end."""
        stop = asyncio.Event()
        asking = asyncio.create_task(self._ask(stop))
        try:
            yield self
        finally:
            stop.set()
            await asking

    async def one_by_one(self, count: int | None = None) -> None:
        """Ask without pause, each when the one before is answered; until cancelled where no number is given."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
            for prompt in itertools.islice(itertools.cycle(self.prompts), count):
                await self._one(session, prompt)

    async def _ask(self, stop: asyncio.Event) -> None:
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as requests,
        ):
            for prompt in itertools.cycle(self.prompts):
                requests.create_task(self._one(session, prompt))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 1 / self.rate)
                if stop.is_set():
                    return

    async def _one(self, session: aiohttp.ClientSession, prompt: str) -> None:
        body = {"prompt": prompt, "max_tokens": self.output_tokens, "temperature": 0, "ignore_eos": True}
        at_s, began, error = time.time(), time.monotonic(), ""
        try:
            async with session.post(self.url + "/v1/completions", json=body, headers=self.headers) as answer:
                await answer.read()
                error = "" if answer.ok else f"status {answer.status}"
        except (aiohttp.ClientError, TimeoutError) as problem:
            error = f"{type(problem).__name__}: {problem}"
        self.went.append(Went(at_s, (time.monotonic() - began) * 1e3, error))


def prompts(text: str, characters: int) -> list[str]:
    """The text in pieces of about so many characters, cut between words."""
    pieces, current = [], ""
    for word in text.split():
        current = f"{current} {word}".strip()
        if len(current) >= characters:
            pieces.append(current)
            current = ""
    return pieces
