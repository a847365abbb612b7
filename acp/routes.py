"""What the wire needs to know of a command's handler; the handlers themselves are handed in."""

from collections.abc import Mapping
from typing import Protocol

from pydantic import BaseModel

from acp.job import Job
from schemas.command import Command
from schemas.job import Outcome, Sender


class Route(Protocol):
    """One command's way: validate with `command`, then answer at once or work as a job."""

    @property
    def command(self) -> type[Command]:
        """The record that its body must fit."""

    @property
    def summary(self) -> str:
        """One sentence for discovery."""

    @property
    def instant(self) -> bool:
        """Whether its answer needs no waiting for anything."""

    def markdown(self, answer: BaseModel) -> str | None:
        """The answer as the handler itself writes it for people; None leaves that to the wire."""

    def starts_job(self, command: Command) -> bool:
        """Whether this command takes time, so that it is accepted instead of answered."""

    async def answer(self, command: Command, sender: Sender) -> BaseModel:
        """The immediate answer.

        Raises:
            AgentError: turned into an error reply.
        """

    async def work(self, command: Command, job: Job) -> Outcome:
        """Carry the command out.

        Raises:
            AgentError: ends the job as failed; any other exception is tried again, up to the limit of attempts.
        """


Routes = Mapping[str, Route]
