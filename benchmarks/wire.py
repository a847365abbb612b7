"""PING through the agent's doors beside bare echoes of the same libraries, in one run on one machine.

Usage: python benchmarks/wire.py [SECONDS_PER_POINT]. Client, servers and broker share the machine.
"""

import asyncio
import itertools
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter

import aiohttp
import nats
import numpy as np
import orjson
from aiohttp import web
from nats.micro import add_service
from nats.micro.request import Request
from nats.micro.service import ServiceConfig

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "wire"))

from processes import NAMES, AgentProcess, until

from executors.broker import Broker
from executors.process import Child

PING = b'{"cmd":"PING"}'
PLAN = (
    b'{"cmd":"OPTIMIZE_INFERENCE","model":"llama-3-70b","current_perf":{"latency_p95":2500,"throughput":10},'
    b'"targets":{"latency_p95":500,"throughput":50},"constraints":{"max_quality_loss":0.02,"hardware":"4xA100-80GB",'
    b'"budget_monthly":5000},"mode":"plan","respond_format":"OPTIMIZATION_PLAN"}'
)
CONCURRENCY = (1, 8, 32, 128)
HTTP_CONCURRENCY = (1, 32)


async def load(ask: Callable[[], Awaitable[object]], concurrency: int, seconds: float) -> tuple[float, float, float]:
    """Requests per second, and p50 and p99 in milliseconds, of `concurrency` askers."""
    times: list[float] = []
    stop_at = perf_counter() + seconds

    async def asker() -> None:
        while perf_counter() < stop_at:
            before = perf_counter()
            await ask()
            times.append(perf_counter() - before)

    started = perf_counter()
    await asyncio.gather(*(asker() for _ in range(concurrency)))
    elapsed = perf_counter() - started
    p50, p99 = np.percentile(np.array(times) * 1e3, [50, 99])
    return len(times) / elapsed, float(p50), float(p99)


async def echo_nats(url: str) -> None:
    """A bare nats.micro echo that parses and writes JSON, until it is killed."""
    client = await nats.connect(url)
    service = await add_service(client, ServiceConfig(name="echo", version="0.0.1"))

    async def handler(request: Request) -> None:
        await request.respond(orjson.dumps(orjson.loads(request.data)))

    await service.add_endpoint(name="echo", subject="bare.echo", handler=handler)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def echo_http() -> None:
    """A bare aiohttp echo that parses and writes JSON, until it is killed."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(orjson.loads(await request.read())), content_type="application/json")

    app = web.Application()
    app.router.add_post("/acp", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def row(name: str, concurrency: int, ours: tuple[float, ...], bare: tuple[float, ...]) -> None:
    """One line of the table."""
    print(
        f"{name:5s} {concurrency:4d}  ours {ours[0]:7.0f}/s p50 {ours[1]:6.2f} p99 {ours[2]:6.2f} ms"
        f"   bare {bare[0]:7.0f}/s p50 {bare[1]:6.2f} p99 {bare[2]:6.2f} ms"
        f"   rate x{ours[0] / bare[0]:.2f}  p99 x{ours[2] / bare[2]:.2f}"
    )


async def measure(directory: Path, seconds: float) -> None:
    """All points, ours and bare alternating."""
    me = [sys.executable, __file__]
    async with Broker(directory / "broker") as broker:
        echo = Child([*me, "echo-nats", broker.url], log=directory / "echo.log")
        http = Child([*me, "echo-http"], log=directory / "http.log")
        started = perf_counter()
        agent = AgentProcess(broker.url, directory, http=True, http_port=0, requests_per_s=1e9)
        async with agent:
            await agent.ready()
            print(f"time from start of the process to ready: {perf_counter() - started:.2f} s")
            async with echo, http:
                await until(lambda: "ready" in echo.log.read_text() and http.log.read_text().strip())
                await over_nats(broker.url, seconds)
                listening = next(line for line in agent.log.read_text().splitlines() if "bridge_listening" in line)
                await over_http(
                    orjson.loads(listening)["url"], f"http://127.0.0.1:{http.log.read_text().strip()}", seconds
                )


async def over_nats(url: str, seconds: float) -> None:
    """PING and a plan made before, through the micro endpoint against the echo; then plans of other requests."""
    client = await nats.connect(url)
    for concurrency in CONCURRENCY:
        bare = await load(lambda: client.request("bare.echo", PING, timeout=5), concurrency, seconds)
        ours = await load(lambda: client.request(NAMES.command, PING, timeout=5), concurrency, seconds)
        row("NATS", concurrency, ours, bare)
    await client.request(NAMES.command, PLAN, timeout=60)
    bare = await load(lambda: client.request("bare.echo", PLAN, timeout=5), 8, seconds)
    ours = await load(lambda: client.request(NAMES.command, PLAN, timeout=60), 8, seconds)
    row("plan", 8, ours, bare)
    budgets = itertools.count(5000)
    for concurrency in (1, 8):
        rate, p50, p99 = await load(
            lambda: client.request(NAMES.command, PLAN.replace(b"5000", b"%d" % next(budgets)), timeout=60),
            concurrency,
            seconds,
        )
        print(f"plans never asked for before, {concurrency} at a time: {rate:.1f}/s p50 {p50:.0f} p99 {p99:.0f} ms")
    await client.close()


async def over_http(ours_url: str, bare_url: str, seconds: float) -> None:
    """PING through POST /acp against the echo."""
    head = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession() as session:

        def asking(url: str) -> Callable[[], Awaitable[object]]:
            async def ask() -> None:
                async with session.post(f"{url}/acp", data=PING, headers=head) as response:
                    await response.read()

            return ask

        for concurrency in HTTP_CONCURRENCY:
            bare = await load(asking(bare_url), concurrency, seconds)
            ours = await load(asking(ours_url), concurrency, seconds)
            row("HTTP", concurrency, ours, bare)


def main() -> None:
    """The table, or one of the echoes."""
    match sys.argv[1:]:
        case ["echo-nats", url]:
            asyncio.run(echo_nats(url))
        case ["echo-http"]:
            asyncio.run(echo_http())
        case arguments:
            with tempfile.TemporaryDirectory() as directory:
                asyncio.run(measure(Path(directory), float(arguments[0]) if arguments else 3.0))


if __name__ == "__main__":
    main()
