"""Live requests that were sampled to judge quality with, in a rollout and after it."""

from enum import StrEnum

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from schemas.base import Record
from schemas.command import QualityWatch
from schemas.measurement import GateDecision


class Sampling(Record):
    """How many were sampled, and how many of them are in the text that quality is judged with."""

    seen: NonNegativeInt
    used: NonNegativeInt
    left_out: dict[str, PositiveInt] = Field(default_factory=dict)
    """Requests by reason."""

    @property
    def sentence(self) -> str:
        """For people: `12 of 20 sampled prompts (5 asked before, 3 cut off in the gateway's log)`."""
        why = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        return f"{self.used} of {self.seen} sampled prompts{f' ({why})' if why else ''}"


class DriftState(StrEnum):
    """What the watch of a live release does now."""

    IDLE = "idle"
    """There is nothing to judge: a rollout is under way, or the untouched model serves."""
    SAMPLING = "sampling"
    WAITING = "waiting"
    """For an empty queue, and for its turn among whatever measures on this machine."""
    JUDGING = "judging"
    RESTING = "resting"


class Drift(Record):
    """How the live release did since its rollout, by the same gate; what a restarted watch goes on from."""

    watch: QualityWatch
    limit: NonNegativeFloat
    """Relative loss that is allowed."""
    state: DriftState
    release: NonNegativeInt = 0
    """Number of the release that the rest is about."""
    window: NonNegativeInt = 0
    """Windows begun with it."""
    sampling: Sampling | None = None
    """Of the window under way, or the last one."""
    decision: GateDecision | None = None
    """The latest verdict on it."""
    judged_at_s: NonNegativeFloat | None = None
    """When, seconds since 1970."""
    breached: tuple[PositiveInt, ...] = ()
    """Numbers of all releases that were found beyond the limit: none of them is gone back to."""
    sentence: str = ""
