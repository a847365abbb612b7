"""This machine's journal compared with the broker: what got lost there is handed over again, what was given up ends."""

import asyncio
from collections.abc import Awaitable, Callable

import nats.errors
import structlog
from nats.js.errors import APIError, NotFoundError
from pydantic import ValidationError

from acp import headers
from acp.bus import Bus
from acp.job import Kit, concluded
from acp.jobs import Jobs
from acp.journal import SETTLED_S, enqueue
from acp.ledger import patiently
from acp.subjects import Subjects
from acp.work import Work
from schemas.error import AgentError
from schemas.job import JobRecord, Outcome
from schemas.status import JobState

log = structlog.get_logger()
EVERY_S = 3600.0
AGAIN_S = 30.0


class Resender:
    """Compares the journal with the broker and hands over again what got lost there."""

    def __init__(self, bus: Bus, kit: Kit, jobs: Jobs) -> None:
        self._bus = bus
        self._subjects = Subjects(bus.settings.agent)
        self._journal = kit.journal
        self._ledger = kit.ledger
        self._outbox = kit.outbox
        self._jobs = jobs

    async def run(self, stop: asyncio.Event) -> None:
        """Look at start, a moment after every reconnection, and now and then, until `stop`."""
        while not stop.is_set():
            self._bus.reconnected.clear()
            self._journal.withdrawn.clear()
            settled = await self._each(self._journal.given_up, self._withdraw)
            settled &= await self._each(self._journal.waiting, self._look_after)
            events = (stop, self._bus.reconnected, self._journal.withdrawn)
            waits = [asyncio.create_task(event.wait()) for event in events]
            await asyncio.wait(waits, timeout=EVERY_S if settled else AGAIN_S, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if not stop.is_set() and not self._journal.withdrawn.is_set():
                await asyncio.sleep(SETTLED_S)

    async def _each(self, works: Callable[[], list[Work]], settle: Callable[[Work], Awaitable[None]]) -> bool:
        """Whether all could be settled; what could not waits for the next look and holds the others up no longer."""
        settled = True
        for work in await asyncio.to_thread(works):
            try:
                await settle(work)
            except (AgentError, ValidationError, APIError, nats.errors.Error) as error:
                settled = False
                log.warning("resend_later", job=work.record.job, error=str(error))
        return settled

    async def _withdraw(self, work: Work) -> None:
        """End a job whose sender was told that there is none: before it starts, or at once where it has."""
        why = "withdrawn: its sender was told that it was not accepted"
        ended = concluded(work.record, Outcome(state=JobState.CANCELLED, summary=why))
        entry = await self._ledger.create(ended)
        if not entry.record.state.terminal:
            await self._jobs.cancel(work.record.job, work.record.sender)
        log.warning("job_withdrawn", job=work.record.job)
        self._journal.drop(work.record.job)

    async def _look_after(self, work: Work) -> None:
        job = work.record.job
        entry = await self._ledger.find(job)
        if entry is not None and entry.record.state.terminal:
            self._journal.drop(job)
        elif entry is None:
            log.error("job_lost_by_broker", job=job)
            await enqueue(self._outbox, self._subjects, work, f"{job}.again")
            await self._ledger.create(work.record)
        elif not await self._queued(entry.record):
            log.error("work_lost_by_broker", job=job)
            await enqueue(self._outbox, self._subjects, work, f"{job}.again.{entry.revision}")

    async def _queued(self, record: JobRecord) -> bool:
        if record.queued is None:  # accepted a moment ago, or by a process that died then: the next look will tell
            return False
        stream, patience_s = self._subjects.stream("work"), self._bus.settings.broker_patience_s
        seq = record.queued
        try:
            message = await patiently(lambda: self._bus.js.get_msg(stream, seq), patience_s)
        except NotFoundError:
            return False
        return (message.headers or {}).get(headers.JOB) == record.job
