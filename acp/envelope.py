"""A body in, its kind out: command, status or refused. Total: every input has a kind and nothing raises."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from acp import codec
from schemas.error import AgentError, ErrorCode


class Kind(StrEnum):
    """What a message is."""

    COMMAND = "command"
    STATUS = "status"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A classified message. `body` is empty and `error` set where it is refused."""

    kind: Kind
    cmd: str | None = None
    hash: str | None = None
    body: dict[str, Any] = field(default_factory=dict)
    error: ErrorCode | None = None
    detail: str = ""


def classify(raw: bytes, encoding: str | None = None) -> Envelope:
    """The kind of `raw`: a string `cmd` makes a command, else a `hash` a peer's status, else it is refused."""
    try:
        body = codec.decode(raw, encoding)
    except AgentError as error:
        return Envelope(Kind.REFUSED, error=error.code, detail=error.detail)
    cmd = body.get("cmd")
    if isinstance(cmd, str):
        return Envelope(Kind.COMMAND, cmd=cmd, body=body)
    if "hash" in body:
        return Envelope(Kind.STATUS, hash=str(body["hash"])[:256], body=body)
    return Envelope(
        Kind.REFUSED,
        error=ErrorCode.MISSING_CMD,
        detail='the message has neither a string "cmd" (a command) nor a "hash" (a status)',
    )
