"""Sampled bodies of live requests in, a text to judge with out: bounded, each prompt once, never outside its folder."""

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from executors.files import write_whole
from schemas.artifact import Text
from schemas.deployment import RequestSeen

CHARACTERS_PER_TOKEN = 5
"""More than English has, so that the text holds as many tokens as are wanted."""
CONTEXT_PER_SCORED = 2
"""The scorer reads one token before each that it scores."""


@dataclass
class LivePrompts:
    """Different prompts until there are enough for `tokens` scored ones."""

    tokens: int
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the text is long enough."""
    _kept: dict[str, None] = field(default_factory=dict)
    _characters: int = 0

    @property
    def enough(self) -> bool:
        """Whether the text is long enough."""
        return self._characters >= self.tokens * CONTEXT_PER_SCORED * CHARACTERS_PER_TOKEN

    @property
    def count(self) -> int:
        """How many prompts there are."""
        return len(self._kept)

    def take(self, rows: Iterable[RequestSeen]) -> None:
        """Keep what is new in these requests. A repeated prompt would count its one loss twice."""
        for row in rows:
            text = prompt_of(row.prompt)
            if text and text not in self._kept and not self.enough:
                self._kept[text] = None
                self._characters += len(text)
        if self.enough:
            self.filled.set()

    def write(self, path: Path) -> Text:
        """The prompts as one text, in the order in which they came."""
        joined = "\n\n".join(self._kept)
        write_whole(path, joined)
        digest = hashlib.sha256(joined.encode()).hexdigest()
        return Text(name=f"{self.count} live prompts", path=path, sha256=digest)


def prompt_of(body: str) -> str:
    """What a body of OpenAI's completions or chat completions asks, as text.

    Empty where it was cut off, is no such body, or gives its prompt as token ids.
    """
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(asked, dict):
        return ""
    if isinstance(asked.get("prompt"), str):
        return str(asked["prompt"])
    messages = asked.get("messages")
    if not isinstance(messages, list):
        return ""
    said = [item.get("content") for item in messages if isinstance(item, dict)]
    return "\n".join(text for text in said if isinstance(text, str))


def path_of(body: str) -> str:
    """Where a body of OpenAI's goes; empty where it was cut off or is none."""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(asked, dict):
        return ""
    if "messages" in asked:
        return "/v1/chat/completions"
    return "/v1/completions" if "prompt" in asked else ""
