"""Engines that only say who they are, for tests of what stands before them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import PurePosixPath

from aiohttp import web

from executors.deploy.engines import free_ports
from schemas.deployment import Release, Replica, Slot
from schemas.plan import Strategy

STRATEGY = Strategy(engine="llama.cpp", weight_format="Q4_1", accelerator="host", max_sequences=2, context=512)


@contextlib.asynccontextmanager
async def double(name: str, seconds: float = 0.0) -> AsyncIterator[int]:
    """Answers its name after so many seconds, as a stream where it is asked for one; its port."""

    async def health(_: web.Request) -> web.Response:
        return web.Response()

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(seconds)
        kind = "text/event-stream" if "stream" in request.query else "text/plain"
        return web.Response(text=name, content_type=kind)

    app = web.Application()
    app.router.add_get("/health", health)
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    (port,) = free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield port
    finally:
        await runner.cleanup()


def releases(blue: int, green: int) -> tuple[Release, ...]:
    """A stable release and a new one, of one engine each at these ports."""
    return tuple(
        Release(
            number=number,
            slot=slot,
            strategy=STRATEGY,
            weights=PurePosixPath("w"),
            reference=PurePosixPath("w"),
            replicas=(Replica(name=f"{slot}-1", port=port),),
        )
        for number, slot, port in ((1, Slot.BLUE, blue), (2, Slot.GREEN, green))
    )
