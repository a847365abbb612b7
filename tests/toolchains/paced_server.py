"""A double of an engine that nothing can slow down: each answer's tokens come at fixed times. Prints its address.

Usage: paced_server.py TTFT_MS TPOT_MS
"""

import asyncio
import sys
import time

import orjson
from aiohttp import web

TTFT_S, TPOT_S = (float(word) / 1e3 for word in sys.argv[1:3])


def event(**fields: object) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps({"id": "cmpl-1", "object": "text_completion", "model": "paced", **fields}) + b"\n\n"


async def complete(request: web.Request) -> web.StreamResponse:
    """As many tokens as are asked for, the first after `TTFT_S`, each other one `TPOT_S` after the one before."""
    came = time.monotonic()
    asked = await request.json()
    count = int(asked["max_tokens"])
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    for number in range(count):
        await asyncio.sleep(max(0.0, came + TTFT_S + number * TPOT_S - time.monotonic()))
        await answer.write(event(choices=[{"index": 0, "text": " word", "finish_reason": None}]))
    await answer.write(event(choices=[{"index": 0, "text": "", "finish_reason": "length"}]))
    used = {"prompt_tokens": 16, "completion_tokens": count, "total_tokens": 16 + count}
    await answer.write(event(choices=[], usage=used))
    await answer.write(b"data: [DONE]\n\n")
    return answer


async def detokenize(request: web.Request) -> web.Response:
    """A word for each token."""
    return web.json_response({"content": "word " * len((await request.json())["tokens"])})


async def models(_: web.Request) -> web.Response:
    """The one there is."""
    return web.json_response({"object": "list", "data": [{"id": "paced", "object": "model"}]})


async def health(_: web.Request) -> web.Response:
    """Always well."""
    return web.json_response({"status": "ok"})


async def main() -> None:
    """Serve on a free port of loopback until the end."""
    app = web.Application()
    app.add_routes(
        [
            web.post("/v1/completions", complete),
            web.post("/detokenize", detokenize),
            web.get("/v1/models", models),
            web.get("/health", health),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)  # noqa: T201 - the one line that is waited for
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
