"""PING at both doors while a job publishes updates: with readers of the dashboard's stream, and without, alternating.

Usage: python benchmarks/live.py [READERS] [SECONDS_PER_POINT]. Client, agent and broker share the machine.
"""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import nats
import orjson
from wire import PING, load

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "wire"))

from processes import NAMES, AgentProcess

from executors.broker import Broker

CONCURRENCY = (1, 32)
JOB = {"cmd": "REHEARSE", "steps": 100_000, "seconds": 0.1}


@contextlib.asynccontextmanager
async def reading(session: aiohttp.ClientSession, readers: int) -> AsyncIterator[list[int]]:
    """So many readers of `/live`; the bytes that each was sent."""
    read = [0] * readers

    async def reader(number: int) -> None:
        async with session.get("/live") as stream:
            async for chunk in stream.content.iter_any():
                read[number] += len(chunk)

    tasks = [asyncio.create_task(reader(number)) for number in range(readers)]
    await asyncio.sleep(1.0)
    yield read
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def measure(directory: Path, readers: int, seconds: float) -> None:
    """All points."""
    async with Broker(directory / "broker") as broker:
        agent = AgentProcess(broker.url, directory, http=True, http_port=0, requests_per_s=1e9)
        async with agent:
            await agent.ready()
            listening = next(line for line in agent.log.read_text().splitlines() if "bridge_listening" in line)
            client = await nats.connect(broker.url)
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(orjson.loads(listening)["url"], connector=connector) as session:

                async def over_http() -> None:
                    async with session.post("/acp", data=PING, headers={"Content-Type": "application/json"}) as answer:
                        await answer.read()

                async def over_nats() -> None:
                    await client.request(NAMES.command, PING, timeout=5)

                async with session.post("/acp", json=JOB) as accepted:
                    accepted.raise_for_status()
                for door, ask in (("HTTP", over_http), ("NATS", over_nats)):
                    for concurrency in CONCURRENCY:
                        for count in (0, readers, 0, readers):
                            async with reading(session, count) as read:
                                rate, p50, p99 = await load(ask, concurrency, seconds)
                            told = f"{sum(read) / count / seconds / 1e3:.1f} kB/s each" if count else ""
                            print(
                                f"{door} {concurrency:3d}  {count:3d} readers  {rate:7.0f}/s "
                                f"p50 {p50:6.2f} p99 {p99:6.2f} ms  {told}"
                            )
            await client.close()


def main() -> None:
    """The table."""
    readers, seconds = (int(sys.argv[1]) if sys.argv[1:] else 20), (float(sys.argv[2]) if sys.argv[2:] else 4.0)
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(measure(Path(directory), readers, seconds))


if __name__ == "__main__":
    main()
