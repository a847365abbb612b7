"""A message from any door in, its reply out: classify, validate, then answer at once or accept as a job."""

from collections import Counter
from collections.abc import Mapping

import structlog
from pydantic import ValidationError

from acp import codec, headers
from acp.acceptance import Acceptance
from acp.delegation import admit
from acp.envelope import Envelope, Kind, classify
from acp.headers import Headers
from acp.ledger import Ledger
from acp.outbox import DeadLetter, Outbox
from acp.progress import progress
from acp.reply import Reply, accepted, answered, failed
from acp.routes import Routes
from acp.settings import Settings
from acp.subjects import Subjects
from schemas.command import Command, RespondFormat
from schemas.error import AgentError, ErrorCode, first_error
from schemas.job import Accepted, PeerStatus, Sender

log = structlog.get_logger()


class Crashed(Exception):  # noqa: N818 - what happened, told to the door that can try again
    """A handler failed in a way it does not know itself; holds the reply for a sender who waits."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.detail)
        self.reply = reply


class Intake:
    """What all doors share."""

    def __init__(
        self, settings: Settings, routes: Routes, acceptance: Acceptance, ledger: Ledger, outbox: Outbox
    ) -> None:
        self._settings = settings
        self._subjects = Subjects(settings.agent)
        self.routes = routes
        self._acceptance = acceptance
        self._ledger = ledger
        self._outbox = outbox
        self.counts: Counter[str] = Counter()

    def classify(self, raw: bytes, head: Headers) -> Envelope:
        """The kind of a message, counted."""
        envelope = classify(raw, head.encoding)
        self.counts[envelope.kind] += 1
        return envelope

    def instant(self, envelope: Envelope) -> bool:
        """Whether the answer needs no waiting, so that it is not worth a task of its own."""
        route = self.routes.get(envelope.cmd or "")
        return route is not None and route.instant

    async def receive(self, envelope: Envelope, head: Headers, sender: Sender) -> Reply | None:
        """The reply to one classified message; None to a status, which is never answered.

        Raises:
            Crashed: where a handler failed unexpectedly.
        """
        if envelope.kind is Kind.STATUS:
            await self._keep_status(envelope, head, sender)
            return None
        try:
            return await self._command(envelope, head, sender)
        except AgentError as error:
            self.counts[f"error_{error.code}"] += 1
            return failed(error, tuple(self.routes) if error.code is ErrorCode.UNKNOWN_CMD else ())
        except Exception as error:
            self.counts["crashed"] += 1
            log.exception("handler_crashed", cmd=envelope.cmd)
            sorry = AgentError(ErrorCode.INTERNAL, f"{envelope.cmd} failed inside this agent; its log says why")
            raise Crashed(failed(sorry)) from error

    async def bury(self, raw: bytes, subject: str, original: Mapping[str, str] | None, why: DeadLetter) -> None:
        """Copy a message that could not be handled to the dead letters."""
        self.counts["dead_letters"] += 1
        log.warning("dead_letter", subject=subject, reason=why.reason, deliveries=why.deliveries)
        await self._outbox.dead_letter(subject, raw, original, why)

    async def _command(self, envelope: Envelope, head: Headers, sender: Sender) -> Reply:
        if envelope.error is not None:
            raise AgentError(envelope.error, envelope.detail)
        route = self.routes.get(envelope.cmd or "")
        if route is None:
            raise AgentError(
                ErrorCode.UNKNOWN_CMD,
                f"{(envelope.cmd or '')[:80]!r} is not one of this agent's commands, which are listed",
            )
        if head is not headers.NONE:
            admit(self._settings.agent, self._settings.handoff_hops, head)
        command = validated(route.command, envelope)
        if route.starts_job(command):
            record = await self._acceptance.accept(envelope, sender, head)
            subject = self._subjects.status(record.job)
            acceptance = Accepted(accepted=record.job, state=record.state, status_subject=subject)
            return accepted(acceptance, record.job)
        answer = await route.answer(command, sender)
        text = route.markdown(answer) if command.respond_format is RespondFormat.MARKDOWN else None
        return answered(answer, command.respond_format, text)

    async def _keep_status(self, envelope: Envelope, head: Headers, sender: Sender) -> None:
        """Keep a peer's status, with what it says of the peer's work, where it names a job of ours."""
        job = head.job
        if job is None or await self._ledger.find(job) is None:
            return
        status = PeerStatus(
            sender=sender if sender.verified else Sender(name=head.claimed or sender.name),
            hash=envelope.hash or "",
            body=codec.encode(envelope.body).decode(),
            progress=progress(envelope.body),
        )
        await self._ledger.keep_peer_status(job, status)


def validated(command: type[Command], envelope: Envelope) -> Command:
    """The body as the record of its command.

    Raises:
        AgentError: `invalid_command`, naming the first field that is wrong.
    """
    try:
        return command.model_validate(envelope.body)
    except ValidationError as error:
        raise AgentError(ErrorCode.INVALID_COMMAND, first_error(error)) from error
