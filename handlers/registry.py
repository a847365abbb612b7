"""Every command this agent knows: one module of this package each, found by being there."""

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel

import handlers
from handlers.context import JobContext
from handlers.services import Services
from schemas.command import Command, RespondFormat
from schemas.error import AgentError, ErrorCode
from schemas.job import Outcome, Sender

C = TypeVar("C", bound=Command)


def _never(_: Command, __: Services) -> bool:
    return False


@dataclass(frozen=True)
class Handler(Generic[C]):
    """How one command is handled: `answer` at once, or `work` as a job where `starts_job` says so."""

    command: type[C]
    summary: str
    answer: Callable[[C, Services], Awaitable[BaseModel]] | None = None
    work: Callable[[C, JobContext, Services], Awaitable[Outcome]] | None = None
    starts_job: Callable[[C, Services], bool] = _never
    markdown: Callable[[Any], str] | None = None
    """How `answer`'s answer is written for people, where the plain list of its keys is not good enough."""
    views: Mapping[RespondFormat, Callable[[C, Any, Services], BaseModel]] = field(default_factory=dict)
    """What becomes of `answer`'s answer where another format of JSON is asked for."""
    instant: bool = False
    """Whether `answer` never waits for anything and takes microseconds."""

    @property
    def available(self) -> bool:
        """Whether anything stands behind the command in this version."""
        return self.answer is not None or self.work is not None

    @property
    def cmd(self) -> str:
        """The command's name on the wire, out of the `Literal` type of its `cmd` field."""
        (name,) = self.command.model_fields["cmd"].annotation.__args__  # type: ignore[union-attr]
        return str(name)


@dataclass(frozen=True)
class Bound:
    """A handler with its services: what the wire is handed. Commands reach it validated by its own record."""

    handler: Handler[Any]
    services: Services

    @property
    def command(self) -> type[Command]:
        """The record that a body must fit."""
        return cast("type[Command]", self.handler.command)

    @property
    def summary(self) -> str:
        """One sentence for discovery."""
        return self.handler.summary

    @property
    def instant(self) -> bool:
        """Whether the answer needs no waiting."""
        return self.handler.instant

    def markdown(self, answer: BaseModel) -> str | None:
        """The answer as the handler writes it for people."""
        return self.handler.markdown(answer) if self.handler.markdown else None

    def starts_job(self, command: Command) -> bool:
        """Whether this command is accepted instead of answered."""
        return self.handler.starts_job(command, self.services)

    async def answer(self, command: Command, sender: Sender) -> BaseModel:
        """The immediate answer; raises AgentError."""
        if self.handler.answer is None:
            raise AgentError(ErrorCode.NOT_AVAILABLE, f"{command.cmd} is understood, but this version cannot do it yet")
        same = sender is self.services.sender
        answer = await self.handler.answer(command, self.services if same else replace(self.services, sender=sender))
        view = self.handler.views.get(command.respond_format)
        return view(command, answer, self.services) if view else answer

    async def work(self, command: Command, job: JobContext) -> Outcome:
        """Carry the command out as a job; raises AgentError."""
        if self.handler.work is None:
            raise AgentError(ErrorCode.NOT_AVAILABLE, f"{command.cmd} is not carried out as a job")
        return await self.handler.work(command, job, self.services)


def discover(package: ModuleType = handlers) -> dict[str, Handler[Any]]:
    """The handler of every command, in the order of their names."""
    found = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        handler = getattr(module, "HANDLER", None)
        if isinstance(handler, Handler):
            found[handler.cmd] = handler
    return dict(sorted(found.items()))


def bind(found: dict[str, Handler[Any]], services: Services) -> dict[str, Bound]:
    """`found` with what handlers may use."""
    return {cmd: Bound(handler, services) for cmd, handler in found.items()}
