"""Job records, leases, journals and outcomes in a NATS key-value bucket; a record's revision is the fence."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import TypeVar, cast

import nats.errors
import structlog
from nats.js import JetStreamContext
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError, NoStreamResponseError, ServiceUnavailableError
from nats.js.kv import KeyValue

from acp.consumers import forget
from schemas.delegation import HandoffOutcome
from schemas.error import AgentError, ErrorCode
from schemas.job import JobRecord, PeerStatus

log = structlog.get_logger()
T = TypeVar("T")
RETRY_S = 0.5
STEP = "step"
PEER_STATUSES = 64
"""Statuses of peers kept with one job: whoever makes up labels shall not fill the bucket."""
HANDOFF = "handoff"
"""A step that asks a peer, kept apart so that a job's hand-offs can be read without its other steps."""
AWAY = (
    TimeoutError,
    nats.errors.NoRespondersError,
    nats.errors.ConnectionClosedError,
    nats.errors.ConnectionReconnectingError,
    nats.errors.StaleConnectionError,
    nats.errors.OutboundBufferLimitError,
    NoStreamResponseError,
    ServiceUnavailableError,
)
"""What a broker that is away, or on its way back, looks like."""
FULL = (10023, 10047, 10077)
"""Server error codes that look like absence and are not: no resources, no storage, a stream's limit."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


async def patiently(call: Callable[[], Awaitable[T]], patience_s: float) -> T:
    """The result of `call`, tried again while the broker is away.

    Raises:
        AgentError: `broker_unavailable` after `patience_s` seconds, `queue_full` at once.
    """
    give_up = monotonic() + patience_s
    while True:
        try:
            return await call()
        except AWAY as error:
            if isinstance(error, ServiceUnavailableError) and error.err_code in FULL:
                raise AgentError(ErrorCode.QUEUE_FULL, f"the broker takes no more: {error.description}") from error
            if monotonic() > give_up:
                raise AgentError(ErrorCode.BROKER_UNAVAILABLE, f"NATS was away for {patience_s:g} s") from error
            log.warning("broker_away", error=type(error).__name__)
        await asyncio.sleep(RETRY_S)


@dataclass(frozen=True)
class Entry:
    """A record with the revision at which it was read or written."""

    record: JobRecord
    revision: int


@dataclass(frozen=True)
class Change:
    """A record as it was written at `revision`, with the broker's time of that."""

    record: JobRecord
    revision: int
    at: datetime


class Conflict(Exception):  # noqa: N818 - an event of optimistic concurrency, not an error by itself
    """The record was changed by someone else since it was read."""


class Ledger:
    """The place where jobs live. Keys: `<job>.state`, `.outcome`, `.step.<name>`, `.handoff.<name>`, `.peer.<n>`."""

    def __init__(self, bucket: KeyValue, patience_s: float) -> None:
        self._bucket = bucket
        self._patience_s = patience_s

    async def find(self, job: str) -> Entry | None:
        """The job's record, None where there is none."""
        key = _key(job, "state")
        found = await self._read(key)
        return Entry(JobRecord.model_validate_json(found[0]), found[1]) if found else None

    async def get(self, job: str) -> Entry:
        """The job's record.

        Raises:
            AgentError: `unknown_job` where there is none.
        """
        entry = await self.find(job)
        if entry is None:
            raise AgentError(ErrorCode.UNKNOWN_JOB, f"there is no job {job[:80]!r}; LIST_JOBS names those there are")
        return entry

    async def create(self, record: JobRecord) -> Entry:
        """Add a job; where it exists already, the record that is there."""
        try:
            return await self._write(record, 0)
        except Conflict:
            return await self.get(record.job)

    async def write(self, record: JobRecord, revision: int) -> Entry:
        """Replace the record that was read at `revision`.

        Raises:
            Conflict: where it is not at that revision any more.
        """
        return await self._write(record, revision)

    async def change(self, job: str, change: Callable[[JobRecord], JobRecord]) -> Entry:
        """Apply `change` to the newest record, again if someone else was faster; unchanged records are not written."""
        while True:
            entry = await self.get(job)
            record = change(entry.record)
            if record == entry.record:
                return entry
            try:
                return await self._write(record, entry.revision)
            except Conflict:
                continue

    async def records(self) -> list[JobRecord]:
        """Every job, oldest first."""
        return [JobRecord.model_validate_json(value) async for value in self._values("*.state")]

    async def changes(self) -> AsyncGenerator[Change | None]:
        """Every job as it is kept now, then None, then each one again when it changes, until the connection closes."""
        watcher = await self._bucket.watch("*.state", ignore_deletes=True)
        try:
            async for entry in watcher:
                if entry is None:
                    yield None
                else:
                    record = JobRecord.model_validate_json(entry.value or b"")
                    yield Change(record, entry.revision or 0, cast("datetime", entry.created))
        finally:
            await _end(watcher)

    async def journaled(self, job: str, step: str, kind: str = STEP) -> bytes | None:
        """A step's result, None where it has not finished."""
        found = await self._read(_key(job, kind, step))
        return found[0] if found else None

    async def journal(self, job: str, step: str, result: bytes, kind: str = STEP) -> bytes:
        """Keep a step's result; the first one kept stays and is what comes back."""
        return await self._keep(_key(job, kind, step), result)

    async def outcome(self, job: str) -> bytes | None:
        """What the job came to, as JSON."""
        found = await self._read(_key(job, "outcome"))
        return found[0] if found else None

    async def keep_outcome(self, job: str, outcome: bytes) -> bytes:
        """Keep what the job came to; the first one kept stays."""
        return await self._keep(_key(job, "outcome"), outcome)

    async def keep_peer_status(self, job: str, status: PeerStatus) -> None:
        """Keep what a peer said about a job: one per peer and label, `PEER_STATUSES` in all; more are not kept."""
        known = "vouched" if status.sender.verified else "claimed"  # so that a claim replaces no vouched word
        key = _key(job, "peer", f"{known}-{status.sender.name}-{status.hash}")
        told = (status.sender, status.hash)
        others = [kept for kept in await self.peer_statuses(job) if (kept.sender, kept.hash) != told]
        if len(others) >= PEER_STATUSES:
            log.warning("peer_status_not_kept", job=job, sender=status.sender.name)
            return
        await patiently(lambda: self._bucket.put(key, status.model_dump_json().encode()), self._patience_s)

    async def peer_statuses(self, job: str) -> tuple[PeerStatus, ...]:
        """What peers said about a job."""
        found = self._values(f"{_key(job, 'peer')}.*")
        return tuple([PeerStatus.model_validate_json(value) async for value in found])

    async def handoffs(self, job: str) -> tuple[HandoffOutcome, ...]:
        """What a job handed to peers, with their first answers."""
        found = self._values(f"{_key(job, HANDOFF)}.*")
        return tuple([HandoffOutcome.model_validate_json(value) async for value in found])

    async def _values(self, keys: str) -> AsyncGenerator[bytes]:
        """What is kept now under the keys that match, oldest first."""
        watcher = await self._bucket.watch(keys, ignore_deletes=True)
        try:
            async for entry in watcher:
                if entry is None or entry.value is None:
                    break
                yield entry.value
        finally:
            await _end(watcher)

    async def _read(self, key: str) -> tuple[bytes, int] | None:
        try:
            entry = await patiently(lambda: self._bucket.get(key), self._patience_s)
        except KeyNotFoundError:
            return None
        return (entry.value or b"", entry.revision or 0)

    async def _write(self, record: JobRecord, revision: int) -> Entry:
        key, value = _key(record.job, "state"), record.model_dump_json().encode()
        try:
            written = await patiently(lambda: self._bucket.update(key, value, last=revision), self._patience_s)
        except KeyWrongLastSequenceError as error:
            found = await self._read(key)
            if found is None or found[0] != value:
                raise Conflict(record.job) from error
            written = found[1]  # our own write, whose confirmation got lost
        return Entry(record, written)

    async def _keep(self, key: str, value: bytes) -> bytes:
        try:
            await patiently(lambda: self._bucket.update(key, value, last=0), self._patience_s)
        except nats.errors.MaxPayloadError as error:
            raise AgentError(ErrorCode.TOO_LARGE, f"{key} has {len(value)} bytes; keep it in a file instead") from error
        except KeyWrongLastSequenceError:
            found = await self._read(key)
            return found[0] if found else value
        return value


async def _end(watcher: KeyValue.KeyWatcher) -> None:
    """End a watch; its own `stop` would leave its consumer behind for five minutes."""
    js, subscription = watcher._js._js, watcher._sub  # noqa: SLF001 - it has no other way
    await forget(js, cast("JetStreamContext.PushSubscription", subscription))


def _key(*parts: str) -> str:
    """A key of the bucket: a character that may not stand in one becomes `=` and its code point in hexadecimal."""
    return ".".join(_UNSAFE.sub(lambda match: f"={ord(match[0]):x}", part[:128]) for part in parts)
