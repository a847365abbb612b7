"""Live requests that were sampled to judge quality with: how many could be used, and why the others could not."""

from pydantic import Field, NonNegativeInt, PositiveInt

from schemas.base import Record


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
