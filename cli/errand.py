"""A job without a broker, for what one command line does by itself: steps journaled in its folder, updates printed."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from executors.files import write_whole
from schemas.delegation import Handoff, HandoffOutcome, HandoffState
from schemas.status import InferenceStatus

R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True)
class Errand:
    """What a handler sees as its job."""

    job: str
    directory: Path
    tell: Callable[[InferenceStatus], None]

    async def step(self, name: str, result: type[R], work: Callable[[], Awaitable[R]]) -> R:
        """From the journal, or by doing it."""
        file = self.directory / "journal" / f"{name}.json"
        if not file.exists():
            write_whole(file, (await work()).model_dump_json())
        return result.model_validate_json(file.read_bytes())

    async def report(self, status: InferenceStatus, label: str) -> None:  # noqa: ARG002 - there is nobody to label it for
        """Tell whoever started the errand."""
        self.tell(status)

    async def hand_off(self, handoff: Handoff) -> HandoffOutcome:
        """No peer hears of an errand."""
        return HandoffOutcome(handoff=handoff, state=HandoffState.UNANSWERED, answer="")
