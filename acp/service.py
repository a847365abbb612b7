"""The agent on NATS: a micro endpoint, the inbox and the worker around one intake."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from acp import streams
from acp.acceptance import Acceptance
from acp.bus import Bus
from acp.delegation import Delegation
from acp.door import Door
from acp.inbox import Inbox
from acp.intake import Intake
from acp.job import Kit
from acp.jobs import Jobs
from acp.journal import Journal
from acp.ledger import Ledger
from acp.outbox import Outbox
from acp.resender import Resender
from acp.routes import Routes
from acp.selfcheck import check_permissions
from acp.subjects import Subjects
from acp.supervise import ended
from acp.worker import Worker
from schemas.error import AgentError, ErrorCode

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
        return cls(bus, kit, Jobs(ledger, outbox, bus.settings))

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
        self.intake = backend.intake(routes)
        self.door = Door(backend.bus, self.intake)
        self.worker = Worker(backend.bus, backend.kit, routes, f"{self._settings.agent}-{secrets.token_hex(4)}")
        self._inbox = Inbox(backend.bus, self.intake, backend.kit.outbox)
        self._resender = Resender(backend.bus, backend.kit, backend.jobs)
        self.ready = asyncio.Event()

    @property
    def healthy(self) -> bool:
        """Whether this process answers right now: started, not draining, and the broker within reach."""
        return self.ready.is_set() and self._bus.up

    async def run(self, stop: asyncio.Event, on_ready: "Callable[[Service], None]" = lambda _: None) -> None:
        """Serve until `stop` is set or the connection ends for good, then drain within `drain_s`.

        Raises:
            AgentError: `unauthorized` where the broker does not let this agent in any more.
        """
        await self.door.open()
        work = (self.worker.run(), self._inbox.run(stop), self._resender.run(stop), self.door.end_late_answers(stop))
        loops = [asyncio.create_task(loop) for loop in work]
        ends = [asyncio.create_task(event.wait()) for event in (stop, self._bus.closed, self._bus.refused)]
        try:
            self.ready.set()
            on_ready(self)
            log.info("ready", agent=self._settings.agent, worker=self.worker.name)
            await asyncio.wait([*loops, *ends], return_when=asyncio.FIRST_COMPLETED)
            locked_out = self._bus.closed.is_set() or self._bus.refused.is_set()
            await self._drain(stop, loops)
        finally:
            self.ready.clear()
            await ended(*loops, *ends)
        for loop in loops:
            if not loop.cancelled():
                loop.result()
        if locked_out:
            raise AgentError(ErrorCode.UNAUTHORIZED, "NATS does not let this agent in any more; check its credentials")

    async def _drain(self, stop: asyncio.Event, loops: list[asyncio.Task[None]]) -> None:
        """Take nothing new, hand back what is unfinished, let open answers end."""
        self.ready.clear()
        stop.set()
        self.worker.draining.set()
        await self.door.close()
        _, late = await asyncio.wait([*loops, *self.door.answering], timeout=self._settings.drain_s)
        await ended(*late)
        log.info("drained", cut_short=len(late))
