"""A job's updates as server-sent events, from any point on."""

import asyncio

from aiohttp import web
from nats.aio.msg import Msg
from pydantic import ValidationError

from acp.consumers import forget
from acp.ledger import Ledger
from acp.outbox import number_of
from acp.service import Backend
from acp.subjects import Subjects
from schemas.error import AgentError
from schemas.job import JobRecord
from schemas.status import StatusUpdate

KEEP_ALIVE_S = 15.0


async def stream(request: web.Request, backend: Backend, job: str, after: int) -> web.StreamResponse:
    """Send the updates numbered above `after`, then new ones, up to the terminal one."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    js, names = backend.bus.js, Subjects(backend.bus.settings.agent)
    updates = await js.subscribe(names.status(job), stream=names.stream("status"), ordered_consumer=True)
    vouched = Vouched(backend.kit.ledger, job)
    try:
        await response.prepare(request)
        while True:
            try:
                message = await updates.next_msg(timeout=KEEP_ALIVE_S)
            except TimeoutError:
                await response.write(b": still here\n\n")
                continue
            seq = await vouched.number(message)
            if seq is None:
                continue
            if seq > after:
                after = seq
                await response.write(b"id: %d\nevent: status\ndata: %b\n\n" % (seq, message.data))
            if vouched.ended(seq):
                return response
    except (ConnectionResetError, AgentError, asyncio.CancelledError):
        return response  # reader or broker went away; it can resume with Last-Event-ID
    finally:
        await forget(js, updates)


class Vouched:
    """Tells a job's updates from what an open broker let others publish under its subject: the ledger knows them."""

    def __init__(self, ledger: Ledger, job: str) -> None:
        self._ledger = ledger
        self._job = job
        self._record: JobRecord | None = None

    async def number(self, message: Msg) -> int | None:
        """The update's number; None for one that the ledger does not know of, or knows otherwise.

        Raises:
            AgentError: `broker_unavailable`.
        """
        number = number_of(message.headers, self._job)
        try:
            update = StatusUpdate.model_validate_json(message.data)
        except ValidationError:
            return None
        if number is None:
            return None
        ends = update.inference_status.state.terminal
        if self._record is None or number > self._record.seq or ends:
            found = await self._ledger.find(self._job)
            self._record = found.record if found else None
        known = self._record
        if known is None or number > known.seq:
            return None
        # the ledger keeps the last one whole; nothing comes after an end, so an end must be the last
        return number if update == known.last or not (ends or number == known.seq) else None

    def ended(self, number: int) -> bool:
        """Whether the job ended with this update."""
        return self._record is not None and self._record.state.terminal and number == self._record.seq
