"""Sampled bodies of live requests in, a text to judge with out: bounded, each prompt once, never outside its folder."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson

from executors.files import write_whole
from schemas.artifact import Text
from schemas.sampling import Sampling
from schemas.traffic import RequestSeen

CHARACTERS_PER_TOKEN = 5
"""More than English has, so that the text holds as many tokens as are wanted."""
CONTEXT_PER_SCORED = 2
"""The scorer reads one token before each that it scores."""
CUT_OFF = "cut off in the gateway's log"
NO_TEXT = "without text"
NO_DECODER = "token ids that the engine does not decode"
REPEATED = "asked before"

Decode = Callable[[tuple[int, ...]], Awaitable[str]]
"""Token ids in, their text out; empty where the engine does not say."""


@dataclass(frozen=True)
class Asked:
    """What one body asks: texts, and token ids where it gives its prompt as those."""

    text: str = ""
    ids: tuple[tuple[int, ...], ...] = ()


@dataclass
class LivePrompts:
    """Different prompts until there are enough for `tokens` scored ones."""

    tokens: int
    decode: Decode
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the text is long enough."""
    _kept: dict[str, None] = field(default_factory=dict)
    _characters: int = 0
    _seen: int = 0
    _left_out: Counter[str] = field(default_factory=Counter)

    @property
    def enough(self) -> bool:
        """Whether the text is long enough."""
        return self._characters >= self.tokens * CONTEXT_PER_SCORED * CHARACTERS_PER_TOKEN

    @property
    def sampling(self) -> Sampling:
        """How many of those that were sampled are in the text, and why the others are not."""
        return Sampling(seen=self._seen, used=len(self._kept), left_out=dict(sorted(self._left_out.items())))

    async def take(self, rows: Iterable[RequestSeen]) -> None:
        """Keep what is new in these requests. A repeated prompt would count its one loss twice."""
        for row in rows:
            if row.prompt and not self.enough:
                self._seen += 1
                text, why = await self._text(row)
                if text in self._kept:
                    text, why = "", REPEATED
                if text:
                    self._kept[text] = None
                    self._characters += len(text)
                else:
                    self._left_out[why] += 1
        if self.enough:
            self.filled.set()

    async def _text(self, row: RequestSeen) -> tuple[str, str]:
        """A request's text, or why it has none."""
        asked = prompt_of(row.prompt)
        if asked is None:
            return "", CUT_OFF
        if not asked.ids:
            return asked.text, NO_TEXT
        if row.status != HTTPStatus.OK:  # the engine may have refused the ids: it is not asked about them again
            return "", NO_DECODER
        return "\n".join([text for ids in asked.ids if (text := await self.decode(ids))]), NO_DECODER

    def write(self, path: Path) -> Text:
        """The prompts as one text, in the order in which they came."""
        joined = "\n\n".join(self._kept)
        write_whole(path, joined)
        digest = hashlib.sha256(joined.encode()).hexdigest()
        return Text(name=f"{len(self._kept)} live prompts", path=path, sha256=digest)


def prompt_of(body: str) -> Asked | None:
    """What a body of OpenAI's completions or chat completions asks; None where it was cut off or is no such body."""
    asked = _object(body)
    if asked is None:
        return None
    prompt, messages = asked.get("prompt"), asked.get("messages")
    if isinstance(prompt, str):
        return Asked(prompt)
    if isinstance(prompt, list) and prompt:
        if all(isinstance(one, str) for one in prompt):
            return Asked("\n".join(prompt))
        lists = [prompt] if all(_is_id(one) for one in prompt) else prompt
        whole = all(isinstance(one, list) and one and all(_is_id(item) for item in one) for one in lists)
        return Asked(ids=tuple(tuple(one) for one in lists)) if whole else Asked()
    if not isinstance(messages, list):
        return Asked()
    said = [text for item in messages if isinstance(item, dict) for text in _said(item.get("content"))]
    return Asked("\n".join(said))


def path_of(body: str) -> str:
    """Where a body of OpenAI's goes; empty where it was cut off or is none."""
    asked = _object(body) or {}
    if "messages" in asked:
        return "/v1/chat/completions"
    return "/v1/completions" if "prompt" in asked else ""


def _object(body: str) -> dict[str, Any] | None:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return asked if isinstance(asked, dict) else None


def _is_id(one: object) -> bool:
    return type(one) is int and one >= 0


def _said(content: object) -> list[str]:
    """The texts of a message's content: one, or those among its parts."""
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
