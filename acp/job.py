"""A job while it runs: steps journaled, updates published, peers asked, each only while the lease holds."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TypeVar

from pydantic import BaseModel

from acp.delegation import Delegation
from acp.headers import Headers
from acp.journal import Journal
from acp.lease import Lease
from acp.ledger import HANDOFF, STEP, Ledger
from acp.outbox import Outbox, encoded
from schemas.delegation import Handoff, HandoffOutcome
from schemas.error import AgentError, ErrorCode
from schemas.job import JobRecord, Outcome
from schemas.status import InferenceStatus, JobState, StatusUpdate

R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True)
class Kit:
    """What every job of one agent process shares."""

    ledger: Ledger
    outbox: Outbox
    delegation: Delegation
    journal: Journal


class Job:
    """What a handler's `work` is given."""

    def __init__(self, lease: Lease, kit: Kit, directory: Path, came_with: Headers) -> None:
        self._lease = lease
        self._ledger = kit.ledger
        self._outbox = kit.outbox
        self._delegation = kit.delegation
        self._directory = directory
        self._came_with = came_with
        self._published: Counter[bytes] = Counter()
        self.touched = monotonic()
        """When the job last got on: what tells work from a loop that is merely alive."""

    @property
    def job(self) -> str:
        """The job's id."""
        return self._lease.record.job

    @property
    def directory(self) -> Path:
        """The job's own directory; exists."""
        return self._directory

    async def resume(self) -> None:
        """Take note of what earlier attempts have published, and publish what the last one could not."""
        await self._outbox.status_again(self._lease.record)
        self._published.update(await self._outbox.updates(self.job))

    async def step(self, name: str, result: type[R], work: Callable[[], Awaitable[R]], kind: str = STEP) -> R:
        """The result of a step: from the journal, or by doing `work` and journaling.

        Raises:
            AgentError: `lease_lost`; whatever `work` raises.
        """
        await self._lease.check()
        journaled = await self._ledger.journaled(self.job, name, kind)
        if journaled is None:
            self.touched = monotonic()
            done = await work()
            await self._lease.check()
            journaled = await self._ledger.journal(self.job, name, done.model_dump_json().encode(), kind)
        self.touched = monotonic()
        return result.model_validate_json(journaled)

    async def report(self, status: InferenceStatus, label: str) -> None:
        """Publish an update under the next number; one that an earlier attempt has published is not repeated.

        Raises:
            AgentError: `lease_lost`; `broker_unavailable` when patience is over.
        """
        self.touched = monotonic()
        update = StatusUpdate(inference_status=status, hash=label)
        if self._published[encoded(update)] > 0:
            self._published[encoded(update)] -= 1
            return
        await self._outbox.status(await self._lease.commit(lambda record: _numbered(record, update)))

    async def hand_off(self, handoff: Handoff) -> HandoffOutcome:
        """Ask a peer once, bounded in time; a restarted job finds the answer in its journal."""
        name = f"{handoff.to_agent}-{handoff.component}"

        async def ask() -> HandoffOutcome:
            return await self._delegation.ask(handoff, self.job, self._lease.record.trace, self._came_with)

        return await self.step(name, HandoffOutcome, ask, HANDOFF)

    async def finish(self, outcome: Outcome) -> JobRecord:
        """Reach the terminal state: exactly one caller, over all agents, gets to write it."""
        kept = await self._ledger.keep_outcome(self.job, outcome.model_dump_json().encode())
        ended = Outcome.model_validate_json(kept)
        record = await self._lease.commit(lambda record: concluded(record, ended))
        await self._outbox.status(record)
        return record


def failure(record: JobRecord, error: AgentError) -> Outcome:
    """What a job comes to that `error` ended, with the figures it had reported until then."""
    cancelled = error.code is ErrorCode.CANCELLED
    state = JobState.CANCELLED if cancelled else JobState.FAILED
    before = record.last.inference_status if record.last else None
    status = before or InferenceStatus(state=state, optimization=record.cmd.lower())
    update = {"state": state, "detail": error.detail, "error": None if cancelled else error.code.value}
    return Outcome(state=state, summary=error.detail, status=status.model_copy(update=update))


def _numbered(record: JobRecord, update: StatusUpdate) -> JobRecord:
    return record.model_copy(update={"last": update, "seq": record.seq + 1})


def concluded(record: JobRecord, outcome: Outcome) -> JobRecord:
    """`record` in its terminal state, with the terminal update."""
    before = record.last
    status = outcome.status or (before.inference_status if before else None)
    if status is None:
        status = InferenceStatus(state=outcome.state, optimization=record.cmd.lower())
    progress = 1.0 if outcome.status is None and outcome.state.met else status.progress
    final = status.model_copy(
        update={
            "state": outcome.state,
            "detail": status.detail if outcome.status else outcome.summary,
            "progress": progress,
        }
    )
    label = outcome.label or (before.hash if before else f"{record.cmd.lower()}_v1")
    ended = _numbered(record, StatusUpdate(inference_status=final, hash=label))
    return ended.model_copy(update={"state": outcome.state, "owner": None})
