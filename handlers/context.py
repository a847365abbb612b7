"""What a handler is given: a job's context for work that takes time, journaled step by step."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import BaseModel

from schemas.delegation import Handoff, HandoffOutcome
from schemas.status import InferenceStatus

R = TypeVar("R", bound=BaseModel)


class JobContext(Protocol):
    """A job as its handler sees it. Whoever implements it keeps the promises written here."""

    @property
    def job(self) -> str:
        """The job's id; safe as a file name and as a NATS subject token."""

    @property
    def directory(self) -> Path:
        """The job's own directory (`runs/<job>/`); exists."""

    async def step(self, name: str, result: type[R], work: Callable[[], Awaitable[R]]) -> R:
        """The result of a step: from the journal where it has finished before, else by doing `work` and journaling.

        Raises:
            AgentError: `lease_lost` where another agent owns the job by now; whatever `work` raises.
        """

    async def report(self, status: InferenceStatus, label: str) -> None:
        """Publish an update, in order, only while this agent owns the job. `label` becomes the update's `hash`."""

    async def hand_off(self, handoff: Handoff) -> HandoffOutcome:
        """Ask a peer, bounded in time, and journal its answer; an absent peer gives `unanswered`, never an error."""
