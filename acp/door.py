"""Requests at the NATS micro endpoint in, replies out, each beside the others."""

import asyncio
import contextlib
from collections import Counter
from importlib.metadata import version
from time import monotonic

import structlog
from nats.aio.msg import Msg
from nats.micro import add_service
from nats.micro.request import Request
from nats.micro.service import EndpointStats, ServiceConfig
from nats.micro.service import Service as Micro

from acp import headers
from acp.bus import Bus
from acp.envelope import Envelope
from acp.headers import Headers
from acp.intake import Crashed, Intake
from acp.large import fit
from acp.outbox import DeadLetter
from acp.reply import Reply, timed_out
from acp.subjects import Subjects
from schemas.job import ANYBODY, Sender

log = structlog.get_logger()
PENDING_BYTES = 16 * 1024**2
"""Requests that wait to be looked at (the library has 128 MiB); what comes beyond is dropped, counted and reported."""


class Door:
    """Answers at most `answers_at_once` requests at a time; the subscription's bounded queue holds the rest."""

    def __init__(self, bus: Bus, intake: Intake) -> None:
        self._bus = bus
        self._settings = bus.settings
        self._subjects = Subjects(bus.settings.agent)
        self._intake = intake
        self._free = asyncio.Semaphore(bus.settings.answers_at_once)
        self._micro: Micro | None = None
        self._errors: Counter[str] = Counter()
        self._last_error: dict[str, str] = {}
        self.answering: dict[asyncio.Task[None], float] = {}
        """Open answers, with when each began."""

    async def open(self) -> None:
        """Be found by discovery, and listen."""
        config = ServiceConfig(
            name=self._settings.agent,
            version=version("inferwright"),
            description="Makes self-hosted language models faster and cheaper without making them worse",
            metadata={"protocol": "Agent Coordination Protocol", "commands": ",".join(self._intake.routes)},
            stats_handler=self._statistics,
        )
        self._micro = await add_service(self._bus.nc, config)
        for name, subject in (("cmd", self._subjects.command), ("cmd-verified", self._subjects.command_verified)):
            await self._micro.add_endpoint(name=name, subject=subject, handler=self._request)
        for endpoint in self._micro._endpoints:  # noqa: SLF001 - micro endpoints have no public way to bound their queue
            endpoint._subscription._pending_bytes_limit = PENDING_BYTES  # noqa: SLF001
        await self._bus.nc.flush()

    def _statistics(self, endpoint: EndpointStats) -> dict[str, int]:
        """Fill in the error replies, which go out after the library's handler has returned; and what it cannot know."""
        endpoint.num_errors += self._errors[endpoint.subject]
        endpoint.last_error = self._last_error.get(endpoint.subject, endpoint.last_error)
        return {"answering": len(self.answering), "dropped": self._bus.counts["dropped"]}

    async def close(self) -> None:
        """Listen no more; open answers go on."""
        if self._micro is not None and self._bus.up:
            await self._micro.stop()

    async def end_late_answers(self, stop: asyncio.Event) -> None:
        """End answers that take too long. One look a second costs less than a timer for each request."""
        while not stop.is_set():
            oldest = monotonic() - self._settings.answer_s
            for task, since in list(self.answering.items()):
                if since < oldest:
                    task.cancel()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1.0)

    async def _request(self, request: Request) -> None:
        message: Msg = request._msg  # noqa: SLF001 - the public request hides the reply subject, which must be checked
        head = headers.read(message.headers)
        envelope = self._intake.classify(message.data, head)
        if self._intake.instant(envelope):
            await self._respond(message, head, envelope)
            return
        await self._free.acquire()
        task = asyncio.create_task(self._respond(message, head, envelope))
        self.answering[task] = monotonic()
        task.add_done_callback(self._responded)

    def _responded(self, task: asyncio.Task[None]) -> None:
        del self.answering[task]
        self._free.release()
        if not task.cancelled() and task.exception() is not None:
            log.error("no_reply", error=repr(task.exception()))

    async def _respond(self, message: Msg, head: Headers, envelope: Envelope) -> None:
        verified = self._subjects.sender(message.subject)
        sender = Sender(name=verified, verified=True) if verified else ANYBODY
        try:
            reply = await self._intake.receive(envelope, head, sender)
        except Crashed as crash:
            reply = crash.reply
        except asyncio.CancelledError:
            reply = timed_out(self._settings.answer_s)
        if reply is None:
            return
        if reply.error is not None:
            endpoint = self._subjects.command_verified if verified else self._subjects.command
            self._errors[endpoint] += 1
            self._last_error[endpoint] = f"{reply.status}:{reply.error}"
        reply = await fit(self._bus, reply)
        if replyable(message.reply):
            await self._bus.nc.publish(message.reply, reply.body, headers=self._headers(reply, head))
        if reply.refused:
            why = DeadLetter(reply.error or "", reply.detail)
            await self._intake.bury(message.data, message.subject, message.headers, why)

    def _headers(self, reply: Reply, asked: Headers) -> dict[str, str] | None:
        """Headers for those who read them: a bare request gets a bare answer, which costs both sides half as much."""
        if asked is headers.NONE and reply.error is None and reply.job is None:
            return None
        return reply.headers(self._settings.agent)


def replyable(reply: str) -> bool:
    """Whether a reply may go there: never to the server's own subjects, a wildcard, or an agent's door (a loop)."""
    return bool(reply) and not reply.startswith(("$", "acp.")) and not set("*> ") & set(reply)
