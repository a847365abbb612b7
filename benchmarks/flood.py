"""Commands faster than an agent can carry them out: none is lost, and what waits does not wait in its memory.

Usage: python benchmarks/flood.py [COMMANDS]. Agent, broker and sender share the machine.
"""

import asyncio
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import nats
import psutil
from nats.aio.client import Client

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "wire"))

from processes import AGENT, NAMES, PATIENT_S, AgentProcess, terminal_updates

from cli.send import request
from executors.broker import Broker

AT_ONCE = 64
RUNNING = 8
LOOK_S = 0.1
MEGA = 1e6


@dataclass
class Flood:
    """What came of it; memory is the agent's resident set, in bytes."""

    commands: int = 0
    accepted: int = 0
    ended_once: int = 0
    lost: int = 0
    doubled: int = 0
    accepting_s: float = 0.0
    all_s: float = 0.0
    rest_bytes: int = 0
    peak_bytes: int = 0
    most_waiting: int = 0
    most_running: int = 0

    @property
    def held(self) -> bool:
        """Whether every command was accepted and reached exactly one terminal status."""
        return self.commands == self.accepted == self.ended_once

    @property
    def grown_mb(self) -> float:
        """What the agent's memory grew by, at most."""
        return (self.peak_bytes - self.rest_bytes) / MEGA


async def flood(directory: Path, commands: int) -> Flood:
    """Send `commands` jobs as fast as they are accepted, and wait for their ends."""
    seen = Flood(commands=commands)
    async with (
        Broker(directory / "broker") as broker,
        AgentProcess(broker.url, directory, concurrent_jobs=RUNNING, ack_wait_s=30) as agent,
    ):
        await agent.ready()
        client = await nats.connect(broker.url)
        await request(client, {"cmd": "PING"}, AGENT)
        process = psutil.Process(agent.process.pid).children()[0]
        seen.rest_bytes = process.memory_info().rss
        watching = asyncio.create_task(_watch(client, process, seen))
        started = perf_counter()
        jobs = await _submit(client, commands)
        seen.accepting_s = perf_counter() - started
        await watching
        seen.all_s = perf_counter() - started
        terminal = await terminal_updates(client)
        await client.close()
    seen.accepted = len(set(jobs))
    ends = Counter(min(terminal[job], 2) for job in jobs)
    seen.lost, seen.ended_once, seen.doubled = ends[0], ends[1], ends[2]
    return seen


async def _submit(client: Client, commands: int) -> list[str]:
    """The jobs that were accepted, `AT_ONCE` requests at a time."""
    numbers = iter(range(commands))
    jobs: list[str] = []

    async def sender() -> None:
        for _ in numbers:
            sent = await request(client, {"cmd": "REHEARSE", "steps": 0}, AGENT)
            jobs.append(sent.job or "")

    await asyncio.gather(*(sender() for _ in range(AT_ONCE)))
    return jobs


async def _watch(client: Client, process: psutil.Process, seen: Flood) -> None:
    """Note the largest figures until nothing waits any more."""
    js = client.jetstream(timeout=PATIENT_S)
    empty = 0
    while empty < 5:  # nothing waits for half a second: the sender is through as well
        await asyncio.sleep(LOOK_S)
        seen.peak_bytes = max(seen.peak_bytes, process.memory_info().rss)
        queue = await js.consumer_info(NAMES.stream("work"), "agents")
        waiting = (queue.num_pending or 0) + (queue.num_ack_pending or 0)
        seen.most_waiting = max(seen.most_waiting, waiting)
        seen.most_running = max(seen.most_running, queue.num_ack_pending or 0)
        empty = 0 if waiting else empty + 1


def main() -> int:
    """Exit status 0 where nothing was lost."""
    commands = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as directory:
        seen = asyncio.run(flood(Path(directory), commands))
    print(
        f"{seen.commands:7d}  commands sent, accepted in {seen.accepting_s:.1f} s, all ended after {seen.all_s:.1f} s"
    )
    print(f"{seen.accepted:7d}  accepted")
    print(f"{seen.ended_once:7d}  with exactly one terminal status")
    print(f"{seen.lost:7d}  lost")
    print(f"{seen.doubled:7d}  with more than one terminal status")
    print(f"{seen.most_waiting:7d}  in the queue at most, {seen.most_running} of them running ({RUNNING} allowed)")
    print(
        f"{seen.grown_mb:7.1f}  MB that the agent's memory grew by at most, from {seen.rest_bytes / MEGA:.1f}"
        f" to {seen.peak_bytes / MEGA:.1f}"
    )
    print("held" if seen.held else "BROKEN")
    return 0 if seen.held else 1


if __name__ == "__main__":
    sys.exit(main())
