"""The page that shows the agent to a person, and the stream of boards that moves it."""

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from aiohttp import web

from acp.bridge.live import Cursor, Feed
from schemas.error import AgentError, ErrorCode

STATIC = Path(__file__).parent / "static"
PAGES = {"/": STATIC / "index.html"} | {f"/static/{file.name}": file for file in STATIC.iterdir()}
"""Each address of the page's files; they hold no data, so they are open to whoever reaches the bridge."""
KEEP_ALIVE_S = 5.0
PACE_S = 0.25
"""Between two boards to one reader at the least: what changes meanwhile is told at once."""
GUARDED = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Nothing but this page's own files may run in it, be asked by it or hold it: what jobs say is hostile."""


async def page(request: web.Request) -> web.StreamResponse:
    """One of the page's files."""
    return web.FileResponse(PAGES[request.path], headers=GUARDED)


async def live(
    request: web.Request, watching: AbstractAsyncContextManager[Feed], timeout_s: float
) -> web.StreamResponse:
    """Boards of what is new, from the beginning or after `Last-Event-ID`, until the reader or the agent goes away.

    An empty board every `KEEP_ALIVE_S` says that both are still there.
    """
    cursor = Cursor.read(request.headers.get("Last-Event-ID", ""))
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    async with watching as feed:
        try:
            await response.prepare(request)
            while not feed.over:
                board, cursor = feed.since(cursor)
                data = board.model_dump_json(exclude_none=True).encode()
                async with asyncio.timeout(timeout_s):
                    await response.write(b"id: %b\nevent: board\ndata: %b\n\n" % (str(cursor).encode(), data))
                await feed.news(cursor, KEEP_ALIVE_S)
                await asyncio.sleep(PACE_S)
        except (ConnectionResetError, TimeoutError, asyncio.CancelledError):
            return response  # the reader went away or reads no more; it can resume with Last-Event-ID
    return response


async def plan(job: str, directory: Path) -> web.Response:
    """The plan that a job left.

    Raises:
        AgentError: `not_found`.
    """
    file = directory / "plan.json"
    if not file.is_file():
        raise AgentError(ErrorCode.NOT_FOUND, f"{job} left no plan; jobs of OPTIMIZE_INFERENCE do when they end")
    return web.Response(body=await asyncio.to_thread(file.read_bytes), content_type="application/json")
