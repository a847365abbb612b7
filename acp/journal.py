"""Accepted work on this machine's own disk, until it has ended: what the broker forgets is handed to it again.

A broker without `sync_interval: always` confirms before it syncs: a power failure then loses confirmed work.
"""

import asyncio
import contextlib
import os
from pathlib import Path
from time import time

import structlog
from nats.js.errors import NotFoundError

from acp import headers
from acp.bus import Bus
from acp.ledger import Ledger, patiently
from acp.outbox import Outbox
from acp.subjects import Subjects
from acp.work import Work
from schemas.job import JobRecord

log = structlog.get_logger()
SETTLED_S = 2.0
EVERY_S = 3600.0


class Journal:
    """One file per accepted job."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def keep(self, work: Work) -> None:
        """Have `work` on the disk when this returns."""
        await asyncio.to_thread(self._write, work)

    def _write(self, work: Work) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        file = self._file(work.record.job)
        part = file.with_suffix(".part")
        with part.open("w") as out:
            out.write(work.model_dump_json())
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)

    def drop(self, job: str) -> None:
        """Forget a job that has ended."""
        self._file(job).unlink(missing_ok=True)

    def waiting(self) -> list[Work]:
        """What was accepted here, longer than a moment ago, and is not known to have ended."""
        before = time() - SETTLED_S
        found = []
        for file in sorted(self._directory.glob("*.json")):
            with contextlib.suppress(FileNotFoundError):  # ended between the listing and the reading
                if file.stat().st_mtime < before:
                    found.append(Work.model_validate_json(file.read_bytes()))
        return found

    def _file(self, job: str) -> Path:
        return self._directory / f"{job}.json"


class Resender:
    """Compares the journal with the broker and hands over again what got lost there."""

    def __init__(self, bus: Bus, journal: Journal, ledger: Ledger, outbox: Outbox) -> None:
        self._bus = bus
        self._subjects = Subjects(bus.settings.agent)
        self._journal = journal
        self._ledger = ledger
        self._outbox = outbox

    async def run(self, stop: asyncio.Event) -> None:
        """Look at start, a moment after every reconnection, and now and then, until `stop`."""
        while not stop.is_set():
            self._bus.reconnected.clear()
            for work in await asyncio.to_thread(self._journal.waiting):
                await self._look_after(work)
            waits = [asyncio.create_task(event.wait()) for event in (stop, self._bus.reconnected)]
            await asyncio.wait(waits, timeout=EVERY_S, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if not stop.is_set():
                await asyncio.sleep(SETTLED_S)

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


async def enqueue(outbox: Outbox, subjects: Subjects, work: Work, message_id: str) -> tuple[int, bool]:
    """Put `work` into the work stream; its place there, and whether it was there already.

    Raises:
        AgentError: `queue_full`, `broker_unavailable`.
    """
    record = work.record
    head = {headers.MESSAGE_ID: message_id, headers.JOB: record.job, headers.TRACE: record.trace}
    ack = await outbox.publish(subjects.work(record.sender.name), work.model_dump_json().encode(), head)
    return ack.seq, bool(ack.duplicate)
