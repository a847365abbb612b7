"""Agents as real processes that can be killed, stopped and continued, and what they left behind."""

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from time import monotonic

from nats.aio.client import Client

from acp.subjects import Subjects
from executors.process import Child
from schemas.status import JobState, StatusUpdate

AGENT = "inference-optimization-specialist"
REHEARSAL = Path(__file__).parent / "rehearsal.py"
ROOT = Path(__file__).parents[2]
NAMES = Subjects(AGENT)
PATIENT_S = 30.0
"""How long a look at the broker may take: it syncs every write, on a disk that other tests use as well."""


class AgentProcess(Child):
    """One agent in a process group of its own."""

    def __init__(
        self,
        url: str,
        directory: Path,
        name: str = "agent",
        arguments: tuple[str, ...] = (),
        *,
        within: tuple[str, ...] = (),
        **settings: object,
    ) -> None:
        """`within` is a command line that runs the rest of its arguments."""
        defaults = {"ack_wait_s": 1.0, "fetch_s": 0.2, "drain_s": 5.0, "handoff_s": 0.5} | settings
        env = {f"INFERWRIGHT_{key.upper()}": str(value) for key, value in defaults.items()}
        super().__init__(
            [*within, sys.executable, str(REHEARSAL), *arguments],
            log=directory / f"{name}.log",
            env=env
            | {"INFERWRIGHT_NATS_URLS": url, "INFERWRIGHT_RUNS_DIR": str(directory / "runs"), "PYTHONPATH": str(ROOT)},
        )

    async def ready(self, times: int = 1) -> None:
        """Wait until the log says so."""
        await until(lambda: self.log.read_text().count('"event": "ready"') >= times)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the agent's process group."""
        signal_group(self, number)

    async def kill(self) -> None:
        """SIGKILL."""
        self.signal(signal.SIGKILL)
        await self.process.wait()


def signal_group(child: Child, number: signal.Signals) -> None:
    """Send a signal to the process group of a child that this test started."""
    os.killpg(child.process.pid, number)


async def until(holds: object, timeout: float = 15.0) -> None:
    """Wait until `holds()` is true; it may be a coroutine function."""
    give_up = monotonic() + timeout
    while True:
        value = holds()  # type: ignore[operator]
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return
        if monotonic() > give_up:
            raise AssertionError("it did not happen in time")
        await asyncio.sleep(0.02)


async def statuses(client: Client, job: str) -> list[tuple[int, StatusUpdate]]:
    """Every update of a job in its stream, with its number."""
    js = client.jetstream(timeout=PATIENT_S)
    subscription = await js.subscribe(NAMES.status(job), stream=NAMES.stream("status"), ordered_consumer=True)
    found = []
    try:
        while True:
            message = await subscription.next_msg(timeout=0.3)
            found.append((int((message.headers or {})["Acp-Seq"]), StatusUpdate.model_validate_json(message.data)))
    except TimeoutError:
        return found
    finally:
        await subscription.unsubscribe()


async def terminal_states(client: Client, job: str) -> list[JobState]:
    """The terminal states that a job's updates reached: one, if nothing is wrong."""
    states = [update.inference_status.state for _, update in await statuses(client, job)]
    return [state for state in states if state.terminal]


async def terminal_updates(client: Client) -> Counter[str]:
    """How many terminal updates each job in the status stream has."""
    subject, stream = f"acp.{AGENT}.status.*", NAMES.stream("status")
    updates = await client.jetstream(timeout=PATIENT_S).subscribe(subject, stream=stream, ordered_consumer=True)
    found: Counter[str] = Counter()
    while True:
        try:
            message = await updates.next_msg(timeout=2)
        except TimeoutError:
            return found
        if StatusUpdate.model_validate_json(message.data).inference_status.state.terminal:
            found[(message.headers or {})["Acp-Job"]] += 1


def effects(directory: Path, job: str) -> Counter[int]:
    """How often each step of a rehearsal was done."""
    log = directory / "runs" / job / "effects.log"
    return Counter(int(line) for line in log.read_text().split()) if log.exists() else Counter()


async def pending(client: Client) -> int:
    """Messages in the work stream."""
    info = await client.jetstream(timeout=PATIENT_S).stream_info(NAMES.stream("work"))
    return info.state.messages
