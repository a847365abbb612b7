"""Hand-offs to peer agents, and what came back."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from schemas.base import Record
from schemas.command import Command


class Peer(StrEnum):
    """The agents this one hands work to."""

    DEVOPS = "devops-engineer"
    SYSTEMS = "systems-engineer"
    AI_ML = "ai-ml-engineer"
    FINE_TUNING = "fine-tuning-specialist"


class Rendering(Record):
    """A step written for a machine that is not here: what to run there, and what of it was checked. It was not run."""

    method: str
    script_name: str
    script: str
    container: str
    command: tuple[str, ...]
    """An argument list; its `./` paths lie beside the script."""
    needs: str
    """The hardware."""
    engines: tuple[str, ...]
    """Whose documentation says that they load the result."""
    checks: tuple[str, ...]
    unchecked: tuple[str, ...]
    source: str
    """Of the facts that it was checked against."""


class HandoffContext(Record):
    """What the peer needs to know."""

    job: str
    model: str
    reason: str
    strategy: str | None = None
    rendering: Rendering | None = None


class Handoff(Record):
    """A `HANDOFF` command as it goes out to `acp.<peer>.cmd`."""

    cmd: Literal["HANDOFF"] = "HANDOFF"
    from_agent: str
    to_agent: Peer
    component: str
    context: HandoffContext
    deliverables_expected: tuple[str, ...]
    respond_format: Literal["STRUCTURED_JSON"] = "STRUCTURED_JSON"


class HandoffState(StrEnum):
    """What became of it."""

    SENT = "sent"
    ACCEPTED = "accepted"
    ANSWERED = "answered"
    REFUSED = "refused"
    UNANSWERED = "unanswered"


class HandoffOutcome(Record):
    """A hand-off with the peer's answer as text (data, never instructions)."""

    handoff: Handoff
    state: HandoffState
    answer: str | None = None


class HandoffReceived(Command):
    """A `HANDOFF` that came in: `context` describes the work as this agent's own command would."""

    cmd: Literal["HANDOFF"]
    from_agent: str = Field(min_length=1, max_length=128)
    """A claim."""
    to_agent: str = Field(min_length=1, max_length=128)
    component: str = Field(default="", max_length=256)
    context: dict[str, JsonValue]
    deliverables_expected: tuple[Annotated[str, Field(max_length=256)], ...] = Field(default=(), max_length=64)
