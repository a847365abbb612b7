"""A job's updates as server-sent events, from any point on."""

import asyncio

from aiohttp import web

from acp.bus import Bus
from acp.headers import SEQ
from acp.subjects import Subjects
from schemas.status import StatusUpdate

KEEP_ALIVE_S = 15.0


async def stream(request: web.Request, bus: Bus, job: str, after: int) -> web.StreamResponse:
    """Send the updates numbered above `after`, then new ones, up to the terminal one."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    names = Subjects(bus.settings.agent)
    updates = await bus.js.subscribe(names.status(job), stream=names.stream("status"), ordered_consumer=True)
    try:
        await response.prepare(request)
        while True:
            try:
                message = await updates.next_msg(timeout=KEEP_ALIVE_S)
            except TimeoutError:
                await response.write(b": still here\n\n")
                continue
            seq = int((message.headers or {}).get(SEQ, "0"))
            if seq > after:
                after = seq
                await response.write(b"id: %d\nevent: status\ndata: %b\n\n" % (seq, message.data))
            if StatusUpdate.model_validate_json(message.data).inference_status.state.terminal:
                return response
    except (ConnectionResetError, asyncio.CancelledError):
        return response  # the reader went away; it can resume with Last-Event-ID
    finally:
        await updates.unsubscribe()
