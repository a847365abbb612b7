"""For tests of the dashboard: a job that says what it is told to say, and deployments as a gateway tells of them."""

import asyncio
from dataclasses import dataclass
from typing import Literal

from pydantic import Field
from rehearsal import routes as rehearsed

from acp.routes import Routes
from acp.service import Backend
from acp.settings import Settings
from cli.serve import own_services
from handlers.context import JobContext
from handlers.registry import Bound, Handler
from handlers.services import Services
from schemas.command import Command
from schemas.deployment import DeploymentList, DeploymentReport
from schemas.error import AgentError, ErrorCode
from schemas.job import Outcome
from schemas.status import InferenceStatus, JobState


class Show(Command):
    """Updates to publish, so many seconds apart, and how it ends."""

    cmd: Literal["SHOW"]
    updates: tuple[InferenceStatus, ...]
    seconds: float = 0.05
    ending: Literal["completed", "fail", "wait"] = "completed"
    summary: str = "shown"


async def work(command: Show, context: JobContext, _: Services) -> Outcome:
    """Publish the updates."""
    for status in command.updates:
        await context.report(status, "show_v1")
        await asyncio.sleep(command.seconds)
    if command.ending == "wait":
        await asyncio.sleep(3600)
    if command.ending == "fail":
        raise AgentError(ErrorCode.TOOL_FAILED, command.summary)
    return Outcome(state=JobState.COMPLETED, summary=command.summary)


class Status(Command):
    """What is in production?"""

    cmd: Literal["DEPLOYMENT_STATUS"]
    name: str = Field(default="", max_length=31)


@dataclass
class Stage:
    """What the double of `DEPLOYMENT_STATUS` answers: no engine and no gateway runs in these tests."""

    deployments: tuple[DeploymentReport, ...] = ()

    def routes(self, settings: Settings, backend: Backend) -> Routes:
        """The agent's own commands, `REHEARSE`, `SHOW` and the double."""

        async def answer(_: Status, __: Services) -> DeploymentList:
            return DeploymentList(deployments=self.deployments)

        show = Handler(command=Show, summary="Shows updates.", work=work, starts_job=lambda _, __: True)
        status = Handler(command=Status, summary="Tells of deployments.", answer=answer)
        services = own_services(settings, backend)
        added = {handler.cmd: Bound(handler, services) for handler in (show, status)}
        return {**rehearsed(settings, backend), **added}
