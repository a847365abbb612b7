"""Three agents and a broker, killed at random; every accepted job must reach exactly one terminal status.

Usage: python benchmarks/chaos.py MINUTES [SEED]. Kills only processes that it started itself.
"""

import asyncio
import json
import random
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from time import monotonic

import nats
import nats.errors
from nats.aio.client import Client

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "wire"))

from processes import AGENT, NAMES, AgentProcess, effects, signal_group, terminal_updates

from cli.send import request
from executors.broker import Broker
from schemas.error import AgentError

AGENTS = 3
SUBMIT_EVERY_S = 0.15
KILL_EVERY_S = (1.0, 4.0)
AWAY_S = (0.0, 1.5)
SETTLE_S = 180.0
STEPS = 3


class Chaos:
    """What is killed, and what must hold all the same."""

    def __init__(self, directory: Path, rng: random.Random) -> None:
        self.directory = directory
        self.rng = rng
        self.broker = Broker(directory / "broker")
        self.agents: list[AgentProcess] = []
        self.accepted: dict[str, str] = {}
        self.kills: Counter[str] = Counter()
        self.counts: dict[str, int] = {}

    async def run(self, seconds: float) -> bool:
        """Submit and kill for `seconds`, let it settle, count."""
        await self.broker.__aenter__()
        url = self.broker.url
        self.agents = [await self._agent(url, number) for number in range(AGENTS)]
        await asyncio.gather(*(agent.ready() for agent in self.agents))
        client = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.2, error_cb=_quiet)
        try:
            stop_at = monotonic() + seconds
            await asyncio.gather(self._submit(client, stop_at), self._kill(url, stop_at))
            await self._settle(client)
            return self._judge(await terminal_updates(client))
        finally:
            await client.close()
            for agent in self.agents:
                await agent.end()
            await self.broker.child.end()

    async def _agent(self, url: str, number: int) -> AgentProcess:
        agent = AgentProcess(url, self.directory, f"agent-{number}", ack_wait_s=2, concurrent_jobs=4, attempts=50)
        await agent.start()
        return agent

    async def _submit(self, client: Client, stop_at: float) -> None:
        number = 0
        while monotonic() < stop_at:
            key = f"job {number}"
            command = {"cmd": "REHEARSE", "steps": STEPS, "seconds": self.rng.uniform(0.01, 0.3)}
            while key not in self.accepted:
                try:
                    async with asyncio.timeout(5):
                        sent = await request(client, command, AGENT, {"Idempotency-Key": key})
                    self.accepted[key] = sent.job or ""
                except (AgentError, TimeoutError, nats.errors.Error):
                    await asyncio.sleep(0.2)  # not accepted as far as we know: the same key again
            number += 1
            await asyncio.sleep(SUBMIT_EVERY_S)

    async def _kill(self, url: str, stop_at: float) -> None:
        port = int(url.rsplit(":", 1)[1])
        victims: list[int] = []
        while monotonic() < stop_at:
            await asyncio.sleep(self.rng.uniform(*KILL_EVERY_S))
            victims = victims or self.rng.sample(range(AGENTS + 1), AGENTS + 1)  # a short run kills each of them too
            victim = victims.pop()
            if victim == AGENTS:
                self.kills["broker"] += 1
                signal_group(self.broker.child, signal.SIGKILL)
                await self.broker.child.wait()
                await asyncio.sleep(self.rng.uniform(*AWAY_S))
                self.broker = await Broker(self.directory / "broker", port=port).__aenter__()
            else:
                self.kills["agent"] += 1
                await self.agents[victim].kill()
                await asyncio.sleep(self.rng.uniform(*AWAY_S))
                self.agents[victim] = await self._agent(url, victim)

    async def _settle(self, client: Client) -> None:
        """Wait until the work stream is empty, within reason."""
        give_up = monotonic() + SETTLE_S
        while monotonic() < give_up:
            info = await client.jetstream().stream_info(NAMES.stream("work"))
            if info.state.messages == 0:
                return
            await asyncio.sleep(0.5)

    def _judge(self, terminal: Counter[str]) -> bool:
        lines = [line for log in self.directory.glob("agent-*.log") for line in log.read_text().splitlines()]
        ended = Counter(json.loads(line)["job"] for line in lines if '"job_ended"' in line)
        jobs = set(self.accepted.values())
        self.counts = counts = {
            "requests accepted": len(self.accepted),
            "jobs": len(jobs),
            "jobs with exactly one terminal status": sum(terminal[job] == 1 for job in jobs),
            "jobs lost": sum(terminal[job] == 0 for job in jobs),
            "jobs with more than one terminal status": sum(terminal[job] > 1 for job in jobs),
            "jobs completed by more than one run": sum(ended[job] > 1 for job in jobs),
            "jobs whose last step was cut short by a kill and done again": sum(
                effects(self.directory, job)[STEPS - 1] > 1 for job in jobs
            ),
            "kills of agents": self.kills["agent"],
            "kills of the broker": self.kills["broker"],
        }
        once = counts["jobs with exactly one terminal status"]
        return once == len(jobs) == len(self.accepted) and all(count == 1 for count in ended.values())


async def _quiet(_: Exception) -> None:
    """Disconnections are the point."""


def main() -> int:
    """Exit status 0 where the promise held."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as directory:
        chaos = Chaos(Path(directory), random.Random(seed))  # noqa: S311 - no secret
        held = asyncio.run(chaos.run(minutes * 60))
    for name, count in chaos.counts.items():
        print(f"{count:6d}  {name}")
    print("held" if held else "BROKEN")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
