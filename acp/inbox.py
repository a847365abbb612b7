"""Commands left in the inbox stream in; jobs, or answers kept in the status stream, out."""

import asyncio

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import APIError

from acp import headers
from acp.bus import Bus
from acp.headers import Headers
from acp.intake import Crashed, Intake
from acp.large import fit
from acp.ledger import patiently
from acp.outbox import DeadLetter, Outbox
from acp.reply import Reply, timed_out
from acp.streams import CONSUMER
from acp.subjects import Subjects
from schemas.error import AgentError, ErrorCode
from schemas.job import ANYBODY, Sender

log = structlog.get_logger()
BATCH = 16
PAUSE_S = 1.0
AGAIN = (ErrorCode.QUEUE_FULL, ErrorCode.BROKER_UNAVAILABLE)
"""What passes: nobody waits at this door, so the message does. And nobody is told of an error whose job still comes."""


class Inbox:
    """Reads one message after the other; each is acknowledged when its answer or its job is stored."""

    def __init__(self, bus: Bus, intake: Intake, outbox: Outbox) -> None:
        self._bus = bus
        self._subjects = Subjects(bus.settings.agent)
        self._intake = intake
        self._outbox = outbox

    async def run(self, stop: asyncio.Event) -> None:
        """Read until `stop`."""
        queue = await self._bus.js.pull_subscribe_bind(CONSUMER, self._subjects.stream("inbox"))
        while not stop.is_set() and not self._bus.closed.is_set():
            for message in await self._batch(queue):
                try:
                    await self._read(message)
                except (AgentError, APIError, nats.errors.Error) as error:
                    log.warning("inbox_later", error=str(error))  # not acknowledged: it comes again

    async def _batch(self, queue: JetStreamContext.PullSubscription) -> list[Msg]:
        try:
            return await queue.fetch(BATCH, timeout=self._bus.settings.fetch_s)
        except TimeoutError:
            return []
        except (nats.errors.Error, APIError) as error:
            log.warning("fetch_failed", error=str(error))
            await asyncio.sleep(PAUSE_S)
            return []

    async def _read(self, message: Msg) -> None:
        verified = self._subjects.sender(message.subject)
        sender = Sender(name=verified, verified=True) if verified else ANYBODY
        head = headers.read(message.headers)
        if head.request_key is None:
            head = head.model_copy(update={"place": place(message)})
        envelope = self._intake.classify(message.data, head)
        try:
            async with asyncio.timeout(self._bus.settings.answer_s):
                reply = await self._intake.receive(envelope, head, sender)
        except (TimeoutError, Crashed) as error:
            if message.metadata.num_delivered < self._bus.settings.attempts:
                await message.nak(delay=PAUSE_S * message.metadata.num_delivered)
                return
            reply = error.reply if isinstance(error, Crashed) else timed_out(self._bus.settings.answer_s)
        if reply is not None and reply.error in AGAIN:
            await message.nak(delay=PAUSE_S)
            return
        if reply is not None:
            await self._keep(message, await fit(self._bus, reply), head)
        await patiently(lambda: message.ack_sync(timeout=2), self._bus.settings.broker_patience_s)

    async def _keep(self, message: Msg, reply: Reply, came_with: Headers) -> None:
        """Leave the answer where the sender can find it, and a copy of what was refused with the dead letters."""
        if reply.refused:
            why = DeadLetter(reply.error or "", reply.detail, message.metadata.num_delivered)
            await self._intake.bury(message.data, message.subject, message.headers, why)
        key = came_with.request_key
        subject = self._subjects.answer(key) if key else self._subjects.answer_to(message.metadata.sequence.stream)
        once = f"answer.{key}" if key else f"answer to {came_with.place}"
        head = reply.headers(self._bus.settings.agent) | {headers.MESSAGE_ID: once}
        await self._outbox.publish(subject, reply.body, head)


def place(message: Msg) -> str:
    """The same for every delivery of a message, and for no other one, also where the stream has been made anew."""
    return f"{message.metadata.sequence.stream} of {message.metadata.timestamp.isoformat()}"
