"""A job's work in, its result or the reason to end it out: the claim is renewed only while the work gets on."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import structlog
from nats.aio.msg import Msg

from acp.job import Job
from acp.lease import Lease
from acp.ledger import AWAY
from acp.settings import Settings
from schemas.error import AgentError, ErrorCode
from schemas.job import Outcome

log = structlog.get_logger()
LONGEST_BEAT_S = 1.0
BEATS_PER_WAIT = 4
AGAIN_S = 10.0
"""Longer than it takes to end a child process, which a second cancellation would cut short."""


class Drained(Exception):  # noqa: N818 - a reason, not an error
    """The agent is asked to stop."""


class Stalled(Exception):  # noqa: N818 - as above
    """The work neither reported nor finished a step for too long."""


@dataclass(frozen=True)
class Supervisor:
    """Watches one job while its work runs."""

    settings: Settings
    job: Job
    lease: Lease
    message: Msg
    draining: asyncio.Event

    async def watch(self, work: "asyncio.Task[Outcome]") -> Outcome:
        """The work's result; the work has ended, one way or another, when this returns.

        Raises:
            AgentError: `lease_lost`, `cancelled`, `timeout`, `disk_full`, or what the work raised.
            Drained: when the agent stops.
            Stalled: when the work does not get on.
        """
        draining = asyncio.create_task(self.draining.wait())
        wall_s = self.settings.job_wall_s
        try:
            async with asyncio.timeout(wall_s) as wall:
                return await self._until_done(work, draining)
        except TimeoutError:
            if wall.expired():
                raise AgentError(ErrorCode.TIMEOUT, f"the job ran longer than {wall_s:g} s; raise job_wall_s") from None
            raise
        finally:
            await ended(draining, work)

    async def _until_done(self, work: "asyncio.Task[Outcome]", draining: "asyncio.Task[bool]") -> Outcome:
        beat_s = min(self.settings.ack_wait_s / BEATS_PER_WAIT, LONGEST_BEAT_S)
        while True:
            await asyncio.wait({work, draining}, timeout=beat_s, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return await work
            if draining.done():
                raise Drained
            await self._beat(beat_s)

    async def _beat(self, beat_s: float) -> None:
        settings = self.settings
        if monotonic() - self.job.touched > settings.stall_s:
            raise Stalled
        used = await asyncio.to_thread(directory_bytes, self.job.directory)
        if used > settings.job_disk_bytes:
            raise AgentError(
                ErrorCode.DISK_FULL, f"the job wrote {used} bytes; at most {settings.job_disk_bytes} are allowed"
            )
        try:
            async with asyncio.timeout(max(beat_s, 1.0)):
                record = await self.lease.check()
                await self.message.in_progress()
        except (TimeoutError, *AWAY):
            log.warning("no_heartbeat", job=self.job.job)  # the work goes on; its next write will tell whose it is
            return
        if record.cancel:
            raise AgentError(ErrorCode.CANCELLED, "cancelled on request")


async def ended(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel all of them until they have ended.

    Once may not be enough: before Python 3.12 asyncio.wait_for, with which NATS' client waits for replies, swallows a
    cancellation that comes together with the reply.
    """
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)


def directory_bytes(directory: Path) -> int:
    """Size of the files under `directory`."""
    return sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
