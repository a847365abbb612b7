"""The agent on NATS: a micro endpoint, the inbox and the worker around one intake."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import structlog
from nats.aio.msg import Msg
from nats.micro import add_service
from nats.micro.request import Request
from nats.micro.service import Service as Micro
from nats.micro.service import ServiceConfig

from acp import headers, streams
from acp.acceptance import Acceptance
from acp.bus import Bus
from acp.delegation import Delegation
from acp.inbox import Inbox
from acp.intake import Crashed, Intake
from acp.job import Kit
from acp.jobs import Jobs
from acp.journal import Journal, Resender
from acp.large import fit
from acp.ledger import Ledger
from acp.outbox import DeadLetter, Outbox
from acp.routes import Routes
from acp.selfcheck import check_permissions
from acp.subjects import Subjects
from acp.worker import Worker
from schemas.error import AgentError, ErrorCode
from schemas.job import Sender

log = structlog.get_logger()


@dataclass(frozen=True)
class Backend:
    """What stands behind the doors: made once the broker is there, before the handlers."""

    bus: Bus
    kit: Kit
    jobs: Jobs

    @classmethod
    async def prepare(cls, bus: Bus) -> "Backend":
        """Make streams and ledger, and check that this agent may use them.

        Raises:
            AgentError: `forbidden` naming the subject it may not use; what `streams.prepare` raises.
        """
        subjects = Subjects(bus.settings.agent)
        await check_permissions(bus)
        bucket = await streams.prepare(bus.js, bus.settings)
        ledger, outbox = Ledger(bucket, bus.settings.broker_patience_s), Outbox(bus, subjects)
        kit = Kit(ledger, outbox, Delegation(bus), Journal(bus.settings.runs_dir / "accepted"))
        return cls(bus, kit, Jobs(ledger, outbox, bus.settings.operators))

    def intake(self, routes: Routes) -> Intake:
        """The way of a message, whichever door it comes in at."""
        settings, ledger, outbox = self.bus.settings, self.kit.ledger, self.kit.outbox
        acceptance = Acceptance(self.bus, Subjects(settings.agent), ledger, outbox, self.kit.journal)
        return Intake(settings, routes, acceptance, ledger, outbox)


class Service:
    """One agent process: answers, accepts and carries out until it is told to stop."""

    def __init__(self, backend: Backend, routes: Routes) -> None:
        self._bus = backend.bus
        self._settings = backend.bus.settings
        self._subjects = Subjects(self._settings.agent)
        self.intake = backend.intake(routes)
        self.worker = Worker(backend.bus, backend.kit, routes, f"{self._settings.agent}-{secrets.token_hex(4)}")
        self._inbox = Inbox(backend.bus, self.intake, backend.kit.outbox)
        self._resender = Resender(backend.bus, backend.kit.journal, backend.kit.ledger, backend.kit.outbox)
        self._answering = asyncio.Semaphore(self._settings.answers_at_once)
        self._tasks: set[asyncio.Task[None]] = set()
        self.ready = asyncio.Event()

    async def run(self, stop: asyncio.Event, on_ready: "Callable[[Service], None]" = lambda _: None) -> None:
        """Serve until `stop` is set or the connection ends for good, then drain within `drain_s`.

        Raises:
            AgentError: `unauthorized` where the broker does not let this agent in any more.
        """
        micro = await self._open()
        loops = [
            asyncio.create_task(self.worker.run()),
            asyncio.create_task(self._inbox.run(stop)),
            asyncio.create_task(self._resender.run(stop)),
        ]
        self.ready.set()
        on_ready(self)
        log.info("ready", agent=self._settings.agent, worker=self.worker.name)
        ends = [asyncio.create_task(event.wait()) for event in (stop, self._bus.closed, self._bus.refused)]
        await asyncio.wait([*loops, *ends], return_when=asyncio.FIRST_COMPLETED)
        asked = stop.is_set()
        self.ready.clear()
        stop.set()
        self.worker.draining.set()
        for end in ends:
            end.cancel()
        if self._bus.up:
            await micro.stop()
        _, late = await asyncio.wait([*loops, *self._tasks], timeout=self._settings.drain_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for loop in loops:
            if not loop.cancelled():
                loop.result()
        log.info("drained", cut_short=len(late))
        if not asked:
            raise AgentError(ErrorCode.UNAUTHORIZED, "NATS does not let this agent in any more; check its credentials")

    @property
    def healthy(self) -> bool:
        """Whether this process answers right now: started, not draining, and the broker within reach."""
        return self.ready.is_set() and self._bus.up

    async def _open(self) -> Micro:
        commands = ",".join(self.intake.routes)
        config = ServiceConfig(
            name=self._settings.agent,
            version=version("inferwright"),
            description="Makes self-hosted language models faster and cheaper without making them worse",
            metadata={"protocol": "Agent Coordination Protocol", "commands": commands},
        )
        micro = await add_service(self._bus.nc, config)
        for name, subject in (("cmd", self._subjects.command), ("cmd-verified", self._subjects.command_verified)):
            await micro.add_endpoint(name=name, subject=subject, handler=self._request)
        await self._bus.nc.flush()
        return micro

    async def _request(self, request: Request) -> None:
        """Answer beside the other requests; when too many are open, the subscription's bounded queue holds the rest."""
        await self._answering.acquire()
        task = asyncio.create_task(self._respond(request))
        self._tasks.add(task)
        task.add_done_callback(self._responded)

    def _responded(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._answering.release()
        if not task.cancelled() and task.exception() is not None:
            log.error("no_reply", error=repr(task.exception()))

    async def _respond(self, request: Request) -> None:
        message: Msg = request._msg  # noqa: SLF001 - the public request hides the reply subject, which must be checked
        verified = self._subjects.sender(message.subject)
        sender = Sender(name=verified, verified=True) if verified else Sender()
        head = headers.read(message.headers)
        try:
            reply = await self.intake.receive(message.data, head, sender)
        except Crashed as crash:
            reply = crash.reply
        if reply is None:
            return
        reply = await fit(self._bus, reply)
        if replyable(message.reply):
            await self._bus.nc.publish(message.reply, reply.body, headers=reply.headers(self._settings.agent))
        if reply.refused:
            why = DeadLetter(reply.error or "", reply.detail)
            await self.intake.bury(message.data, message.subject, message.headers, why)


def replyable(reply: str) -> bool:
    """Whether a reply may go there: never to the server's own subjects, a wildcard, or an agent's door (a loop)."""
    return bool(reply) and not reply.startswith(("$", "acp.")) and not set("*> ") & set(reply)
