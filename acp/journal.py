"""Accepted work on this machine's own disk, until it has ended: what the broker forgets is handed to it again.

A broker without `sync_interval: always` confirms before it syncs: a power failure then loses confirmed work.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from time import time

import structlog
from pydantic import ValidationError

from acp import headers
from acp.outbox import Outbox
from acp.room import told_when_full
from acp.subjects import Subjects
from acp.work import Work
from schemas.error import AgentError, ErrorCode, first_error

log = structlog.get_logger()
SETTLED_S = 2.0


class Journal:
    """One file per accepted job."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._accepting: dict[str, asyncio.Event] = {}
        self.withdrawn = asyncio.Event()
        """Set when an acceptance was given up that the broker may have heard of; whoever waits for it clears it."""

    @contextlib.asynccontextmanager
    async def accepting(self, work: Work) -> AsyncIterator[None]:
        """Have `work` on the disk while the broker is asked to take it, and for good only where it did.

        An acceptance that ends otherwise is told to the sender as an error, after which no job may start. Where the
        broker may have taken the work all the same, a job without a key is withdrawn; one with a key is what the same
        request will find again.
        """
        job = work.record.job
        settled = self._accepting[job] = asyncio.Event()
        try:
            await self._keep(work)
            yield
        except BaseException as error:
            refused = isinstance(error, AgentError) and error.code is not ErrorCode.BROKER_UNAVAILABLE
            self._give_up(job, doubtful=not refused and work.came_with.identity is None)
            raise
        finally:
            self._accepting.pop(job, None)
            settled.set()

    async def may_start(self, job: str) -> bool:
        """Whether its sender is not told, now or in a moment, that there is no such job: work may arrive before that.

        Known only of what is accepted on this machine; elsewhere a job that was withdrawn is cancelled as it runs.
        """
        settled = self._accepting.get(job)
        if settled is not None:
            await settled.wait()
        return not self._file(job).with_suffix(".withdrawn").exists()

    async def _keep(self, work: Work) -> None:
        writing = asyncio.ensure_future(asyncio.to_thread(self._write, work))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await writing  # a thread cannot be stopped, and must not write after the file was given up
            raise

    def _give_up(self, job: str, *, doubtful: bool) -> None:
        file = self._file(job)
        if doubtful and file.exists():
            file.replace(file.with_suffix(".withdrawn"))
            self.withdrawn.set()
        else:
            file.unlink(missing_ok=True)

    def _write(self, work: Work) -> None:
        file = self._file(work.record.job)
        part = file.with_suffix(".part")
        with told_when_full():
            self._directory.mkdir(parents=True, exist_ok=True)
            try:
                with part.open("w") as out:
                    out.write(work.model_dump_json())
                    out.flush()
                    os.fsync(out.fileno())
                part.replace(file)
            finally:
                part.unlink(missing_ok=True)

    def drop(self, job: str) -> None:
        """Forget a job that has ended."""
        for suffix in (".json", ".withdrawn"):
            self._file(job).with_suffix(suffix).unlink(missing_ok=True)

    def waiting(self) -> list[Work]:
        """What was accepted here, longer than a moment ago, and is not known to have ended."""
        return [work for work in self._read("*.json", time() - SETTLED_S) if work.record.job not in self._accepting]

    def given_up(self) -> list[Work]:
        """What was not accepted in the end, though the broker may have it."""
        return self._read("*.withdrawn", time())

    def _read(self, pattern: str, before: float) -> list[Work]:
        """The files written by `before`; what cannot be read is set aside as `.corrupt`, for people to look at."""
        found = []
        for file in sorted(self._directory.glob(pattern)):
            with contextlib.suppress(FileNotFoundError):  # ended between the listing and the reading
                if file.stat().st_mtime > before:
                    continue
                try:
                    found.append(Work.model_validate_json(file.read_bytes()))
                except ValidationError as error:
                    log.warning("journal_unreadable", file=str(file), detail=first_error(error))
                    file.replace(file.with_suffix(".corrupt"))
        return found

    def _file(self, job: str) -> Path:
        return self._directory / f"{job}.json"


async def enqueue(outbox: Outbox, subjects: Subjects, work: Work, message_id: str) -> tuple[int, bool]:
    """Put `work` into the work stream; its place there, and whether it was there already.

    Raises:
        AgentError: `queue_full`, `broker_unavailable`.
    """
    record = work.record
    head = {headers.MESSAGE_ID: message_id, headers.JOB: record.job, headers.TRACE: record.trace}
    ack = await outbox.publish(subjects.work(record.sender.name), work.model_dump_json().encode(), head)
    return ack.seq, bool(ack.duplicate)
