"""Messages that must not get lost, out: published to a stream until the broker has confirmed them."""

from collections.abc import AsyncGenerator, Mapping
from hashlib import sha256

from nats.js.api import PubAck, RawStreamMsg
from nats.js.errors import APIError, NotFoundError

from acp import headers
from acp.bus import Bus
from acp.ledger import patiently
from acp.subjects import Subjects
from schemas.error import AgentError, ErrorCode
from schemas.job import JobRecord
from schemas.status import StatusUpdate

_DROPPED = ("nats-", "acp-reason", "acp-detail", "acp-deliveries", "acp-subject")
_DIGITS = 10
"""More updates than a job has."""


class Outbox:
    """Publishes to this agent's own streams. A repeated publish carries the same `Nats-Msg-Id` and is kept once."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self._bus = bus
        self._subjects = subjects

    async def publish(self, subject: str, body: bytes, head: Mapping[str, str]) -> PubAck:
        """Publish until confirmed; the confirmation says whether the stream held the message already, and where.

        Raises:
            AgentError: `queue_full` where the stream takes no more, `broker_unavailable` when patience is over.
        """
        js, patience_s = self._bus.js, self._bus.settings.broker_patience_s
        try:
            return await patiently(lambda: js.publish(subject, body, headers=dict(head)), patience_s)
        except APIError as error:
            raise AgentError(ErrorCode.BROKER_UNAVAILABLE, f"the broker refused: {error.description}") from error

    async def status(self, record: JobRecord) -> None:
        """Publish the record's last update under its number."""
        if record.last is None:
            return
        body = encoded(record.last)
        await self.publish(
            self._subjects.status(record.job),
            body,
            {
                headers.MESSAGE_ID: _update_id(record.job, record.seq),
                headers.JOB: record.job,
                headers.SEQ: str(record.seq),
                headers.FROM: self._subjects.agent,
                headers.TRACE: record.trace,
                headers.DIGEST: digest(body),
            },
        )

    async def status_again(self, record: JobRecord) -> None:
        """Publish the last update where a crash may have come before it, and only there."""
        if await self._published(record.job) < record.seq:
            await self.status(record)

    async def updates(self, job: str) -> list[bytes]:
        """The bodies of a job's updates so far, in order."""
        return [message.data or b"" async for _, message in self._own(job)]

    async def dead_letter(
        self, subject: str, body: bytes, original: Mapping[str, str] | None, why: "DeadLetter"
    ) -> None:
        """Copy a refused or poisonous message, with its own headers, to the dead letters."""
        head = {name: value for name, value in (original or {}).items() if not name.lower().startswith(_DROPPED)}
        if original and headers.MESSAGE_ID in original:
            head["Acp-Original-Msg-Id"] = original[headers.MESSAGE_ID]
        head |= {
            "Acp-Reason": why.reason,
            "Acp-Detail": _header_text(why.detail),
            "Acp-Deliveries": str(why.deliveries),
            "Acp-Subject": subject,
        }
        await self.publish(self._subjects.dead_letters, body, head)

    async def _published(self, job: str) -> int:
        """The number of the last update in the status stream, 0 where there is none."""
        stream, subject = self._subjects.stream("status"), self._subjects.status(job)
        try:
            message = await patiently(
                lambda: self._bus.js.get_last_msg(stream, subject), self._bus.settings.broker_patience_s
            )
        except NotFoundError:
            return 0
        number = number_of(message.headers, job)
        # a foreign message lies on top of them: an open broker lets anybody publish there
        return max([own async for own, _ in self._own(job)], default=0) if number is None else number

    async def _own(self, job: str) -> AsyncGenerator[tuple[int, RawStreamMsg]]:
        """A job's updates with their numbers, in order; what others published there is left out."""
        stream, subject = self._subjects.stream("status"), self._subjects.status(job)
        seq = 1
        while True:
            try:
                message = await patiently(
                    lambda seq=seq: self._bus.js.get_msg(stream, seq=seq, subject=subject, next=True),  # type: ignore[misc]
                    self._bus.settings.broker_patience_s,
                )
            except NotFoundError:
                return
            number = number_of(message.headers, job)
            if number is not None:
                yield number, message
            seq = (message.seq or seq) + 1


class DeadLetter:
    """Why a message could not be handled: an error's slug, one sentence, and how often it was delivered."""

    def __init__(self, reason: str, detail: str, deliveries: int = 1) -> None:
        self.reason = reason
        self.detail = detail
        self.deliveries = deliveries


def number_of(head: Mapping[str, str] | None, job: str) -> int | None:
    """The number of a job's update as it was published here; None for what carries no such number under its id."""
    number = (head or {}).get(headers.SEQ, "")
    plain = number.isascii() and number.isdigit() and len(number) < _DIGITS
    return int(number) if plain and (head or {}).get(headers.MESSAGE_ID) == _update_id(job, int(number)) else None


def _update_id(job: str, seq: int) -> str:
    return f"{job}.{seq}"


def encoded(update: StatusUpdate) -> bytes:
    """An update as it goes over the wire."""
    return update.model_dump_json(exclude_none=True).encode()


def digest(body: bytes) -> str:
    """`Content-Digest` of a body (RFC 9530, in hexadecimal)."""
    return f"sha-256={sha256(body).hexdigest()}"


def _header_text(text: str) -> str:
    """`text` as one line of printable ASCII: header values end at a line break."""
    return "".join(char if " " <= char <= "~" else " " for char in text)[: headers.LONGEST]
