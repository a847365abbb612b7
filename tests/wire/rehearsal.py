"""A command for tests whose job is only time and effects, and an agent process that knows it."""

import asyncio
import sys
from typing import Literal

from pydantic import Field

from acp.logs import configure
from acp.routes import Routes
from acp.service import Backend
from acp.settings import Settings
from cli.serve import own_routes, own_services, serve
from handlers.context import JobContext
from handlers.registry import Bound, Handler
from handlers.services import Services
from schemas.base import Record
from schemas.command import Command
from schemas.delegation import Handoff, HandoffContext, HandoffOutcome, Peer
from schemas.error import AgentError, ErrorCode
from schemas.job import Outcome
from schemas.status import InferenceStatus, JobState


class Rehearse(Command):
    """So many steps of so many seconds, and how it ends."""

    cmd: Literal["REHEARSE"]
    steps: int = Field(default=3, ge=0)
    seconds: float = 0.02
    ending: Literal["completed", "crash", "fail", "stall", "fill", "full"] = "completed"
    peer: Peer | None = None
    at_once: bool = False


class Done(Record):
    """One step's result."""

    step: int


async def work(command: Rehearse, context: JobContext, _: Services) -> Outcome:
    """Leave one line per finished step in the job's directory."""
    for step in range(command.steps):

        async def effect(step: int = step) -> Done:
            await asyncio.sleep(command.seconds)
            with (context.directory / "effects.log").open("a") as log:
                log.write(f"{step}\n")
            return Done(step=step)

        await context.step(f"step {step}", Done, effect)
        status = InferenceStatus(state=JobState.RUNNING, optimization="rehearsal", progress=(step + 1) / command.steps)
        await context.report(status, "rehearsal_v1")
    outcome = await _ask(command.peer, context) if command.peer else None
    await _end(command, context)
    summary = f"peer {outcome.state}: {outcome.answer}" if outcome else f"{command.steps} steps"
    return Outcome(state=JobState.COMPLETED, summary=summary)


async def _ask(peer: Peer, context: JobContext) -> HandoffOutcome:
    asked = HandoffContext(job=context.job, model="m", reason="rehearsal")
    handoff = Handoff(
        from_agent="inference-optimization-specialist",
        to_agent=peer,
        component="rehearsal",
        context=asked,
        deliverables_expected=("an answer",),
    )
    return await context.hand_off(handoff)


async def _end(command: Rehearse, context: JobContext) -> None:
    if command.ending == "crash":
        raise RuntimeError("rehearsed crash")
    if command.ending == "fail":
        raise AgentError(ErrorCode.TOOL_FAILED, "rehearsed failure: exit code 3")
    if command.ending == "stall":
        await asyncio.sleep(3600)
    if command.ending == "fill":
        with (context.directory / "big").open("wb") as file:
            for _ in range(10_000):
                file.write(b"\0" * 65_536)
                await asyncio.sleep(0.005)
    if command.ending == "full":
        (context.directory / "part").write_bytes(b"\0")
        (context.directory / "whole").symlink_to("/dev/full")
        (context.directory / "whole").write_bytes(b"\0" * 65_536)


async def answer(command: Rehearse, services: Services) -> Done:
    """Answer at once, or crash."""
    await asyncio.sleep(command.seconds)
    if command.ending == "crash":
        raise RuntimeError(f"rehearsed crash of {services.agent}")
    return Done(step=command.steps)


HANDLER = Handler(
    command=Rehearse,
    summary="Rehearses a job.",
    answer=answer,
    markdown=lambda done: f"# Rehearsed {done.step} steps\n",
    work=work,
    starts_job=lambda command, _: not command.at_once,
)


def routes(settings: Settings, backend: Backend) -> Routes:
    """The agent's own commands and `REHEARSE`."""
    services = own_services(settings, backend)
    return {**own_routes(settings, backend), HANDLER.cmd: Bound(HANDLER, services)}


def main() -> None:
    """Run one agent process until a signal ends it; `plain` leaves `REHEARSE` out."""
    configure()
    asyncio.run(serve(Settings(), make_routes=own_routes if "plain" in sys.argv else routes))


if __name__ == "__main__":
    main()
