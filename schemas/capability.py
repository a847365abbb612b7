"""What this agent can do, as it tells others."""

from typing import Literal

from schemas.base import Record
from schemas.command import Mode, RespondFormat


class Capability(Record):
    """One command with what it does."""

    cmd: str
    summary: str
    available: bool


class CapabilityMatch(Record):
    """The answer to `DISCOVER_CAPABILITIES`."""

    cmd: Literal["CAPABILITY_MATCH"] = "CAPABILITY_MATCH"
    agent: str
    capabilities: tuple[Capability, ...]
    matched: tuple[str, ...]
    """The needs that a capability names."""
    score: float
    """The share of the needs that are matched; 1 where none were named."""
    modes: tuple[Mode, ...] = tuple(Mode)
    respond_formats: tuple[RespondFormat, ...] = tuple(RespondFormat)
    hash: str = "capabilities_v1"
