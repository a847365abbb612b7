"""Ownership of one job by one agent process: every change goes through the ledger's revision, or fails.

No clock decides here. The broker hands a job out again when its owner shows no life; whoever receives it takes the
lease with a higher epoch, and the earlier owner's next write fails, however late it comes.
"""

import asyncio
from collections.abc import Callable

from acp.ledger import Conflict, Entry, Ledger
from schemas.error import AgentError, ErrorCode
from schemas.job import JobRecord
from schemas.status import JobState


class Lease:
    """A held lease. Writes are serialised within the process."""

    def __init__(self, ledger: Ledger, entry: Entry) -> None:
        self._ledger = ledger
        self._entry = entry
        self._token = (entry.record.owner, entry.record.epoch)
        self._lock = asyncio.Lock()

    @property
    def record(self) -> JobRecord:
        """The job as last read or written."""
        return self._entry.record

    @classmethod
    async def take(cls, ledger: Ledger, job: str, owner: str, queued: int) -> "Lease":
        """Become the job's owner by the message at `queued`; a job that has ended is left as it is."""

        def taken(record: JobRecord) -> JobRecord:
            if record.state.terminal:
                return record
            fresh = {"owner": owner, "epoch": record.epoch + 1, "attempts": record.attempts + 1, "queued": queued}
            return record.model_copy(update=fresh | {"state": JobState.RUNNING})

        return cls(ledger, await ledger.change(job, taken))

    async def commit(self, change: Callable[[JobRecord], JobRecord]) -> JobRecord:
        """Apply `change` to the record, which stays ours.

        Raises:
            AgentError: `lease_lost` where another process owns the job by now or it has ended.
        """
        async with self._lock:
            while True:
                try:
                    self._entry = await self._ledger.write(change(self.record), self._entry.revision)
                except Conflict:
                    await self._refresh()
                else:
                    return self.record

    async def check(self) -> JobRecord:
        """The newest record, if it is still ours.

        Raises:
            AgentError: `lease_lost` where it is not.
        """
        async with self._lock:
            await self._refresh()
            return self.record

    async def hand_back(self) -> None:
        """Give the job up unfinished, without counting this as an attempt."""
        await self.commit(lambda record: record.model_copy(update={"owner": None, "attempts": record.attempts - 1}))

    async def _refresh(self) -> None:
        entry = await self._ledger.get(self.record.job)
        if (entry.record.owner, entry.record.epoch) != self._token or entry.record.state.terminal:
            raise AgentError(ErrorCode.LEASE_LOST, f"another agent owns {self.record.job} now, or it has ended")
        self._entry = entry
