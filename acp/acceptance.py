"""A validated command in, an accepted job out: durable before the sender is told, one job for a repeated request."""

import base64
import secrets
from datetime import UTC, datetime
from hashlib import sha256

import structlog
from nats.js.errors import NotFoundError

from acp import codec, headers
from acp.bus import Bus
from acp.envelope import Envelope
from acp.headers import Headers
from acp.journal import Journal, enqueue
from acp.ledger import Ledger, patiently
from acp.outbox import Outbox
from acp.room import check_room
from acp.subjects import Subjects
from acp.work import Work
from schemas.error import AgentError, ErrorCode
from schemas.job import JobRecord, Sender

log = structlog.get_logger()


class Acceptance:
    """Accepts jobs. The work stream's confirmation is the moment from which nothing gets lost."""

    def __init__(self, bus: Bus, subjects: Subjects, ledger: Ledger, outbox: Outbox, journal: Journal) -> None:
        self._bus = bus
        self._subjects = subjects
        self._ledger = ledger
        self._outbox = outbox
        self._journal = journal

    async def accept(self, envelope: Envelope, sender: Sender, head: Headers) -> JobRecord:
        """The job for this request: a new one, or the one that an equal request has made before.

        Raises:
            AgentError: `idempotency_conflict`, `queue_full`, `disk_full`, `broker_unavailable`.
        """
        body = codec.canonical(envelope.body)
        record = JobRecord(
            job=job_id(sender, head.identity),
            cmd=envelope.cmd or "",
            sender=sender,
            digest=sha256(body).hexdigest(),
            accepted_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            trace=head.trace or headers.new_trace(),
        )
        known = await self._ledger.find(record.job) if head.identity else None
        accepted = (
            known.record if known else await self._enqueue(Work(record=record, command=body.decode(), came_with=head))
        )
        if accepted.digest != record.digest:
            raise AgentError(
                ErrorCode.IDEMPOTENCY_CONFLICT,
                f"key {head.request_key!r} made {accepted.job} from another body; use a new key",
            )
        return accepted

    async def _enqueue(self, work: Work) -> JobRecord:
        """Store the work here and in the stream, then its record; the first of two equal job ids wins."""
        check_room(self._bus.settings)
        async with self._journal.accepting(work):
            record = work.record
            queued, twin = await enqueue(self._outbox, self._subjects, work, record.job)
            if twin:
                record = await self._twin(record.job, queued)
            return (await self._ledger.create(record.model_copy(update={"queued": queued}))).record

    async def _twin(self, job: str, seq: int) -> JobRecord:
        """The record of the request that was faster with the same key, from its message or, once done, the ledger."""
        stream, patience_s = self._subjects.stream("work"), self._bus.settings.broker_patience_s
        try:
            message = await patiently(lambda: self._bus.js.get_msg(stream, seq), patience_s)
        except NotFoundError:
            return (await self._ledger.get(job)).record
        return Work.model_validate_json(message.data or b"").record


def job_id(sender: Sender, identity: str | None) -> str:
    """An id that is the same for the same sender and request, and random without anything to know it again by."""
    seed = f"{sender.verified}\0{sender.name}\0{identity}".encode() if identity else secrets.token_bytes(32)
    return "job-" + base64.b32encode(sha256(seed).digest())[:20].decode().lower()
