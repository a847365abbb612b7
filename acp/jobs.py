"""Questions and orders about jobs in, summaries out; only a job's own verified sender, or an operator, may end it."""

from acp.job import concluded
from acp.ledger import Ledger
from acp.outbox import Outbox
from acp.settings import Settings
from schemas.error import AgentError, ErrorCode
from schemas.job import HandedOff, JobList, JobRecord, JobSummary, Outcome, Sender
from schemas.status import JobState


class Jobs:
    """What handlers may ask about and do to jobs."""

    def __init__(self, ledger: Ledger, outbox: Outbox, settings: Settings) -> None:
        self._ledger = ledger
        self._aliases = settings.peers
        self._outbox = outbox
        self._operators = settings.operators

    async def summary(self, job: str) -> JobSummary:
        """One job.

        Raises:
            AgentError: `unknown_job`.
        """
        entry = await self._ledger.get(job)
        peers = await self._ledger.peer_statuses(job)
        handoffs = [
            HandedOff.of(outcome, peers, self._aliases.get(outcome.handoff.to_agent, outcome.handoff.to_agent))
            for outcome in await self._ledger.handoffs(job)
        ]
        return JobSummary.of(entry.record, peers, tuple(handoffs))

    async def list(self, limit: int, state: JobState | None = None) -> JobList:
        """The newest `limit` jobs, of one state where one is given."""
        records = [record for record in await self._ledger.records() if state in {None, record.state}]
        records.sort(key=lambda record: record.accepted_at, reverse=True)
        return JobList(jobs=tuple(JobSummary.of(record) for record in records[:limit]), total=len(records))

    async def cancel(self, job: str, sender: Sender) -> JobSummary:
        """Ask for a job's end. One that has not started ends now; a running one within a heartbeat of its owner.

        Raises:
            AgentError: `unknown_job`, `forbidden`, `not_cancelable`.
        """
        self._authorise((await self._ledger.get(job)).record, sender)

        def cancelled(record: JobRecord) -> JobRecord:
            if record.state.terminal:
                raise AgentError(ErrorCode.NOT_CANCELABLE, f"{job} has ended: {record.state}")
            marked = record.model_copy(update={"cancel": True})
            if record.state is not JobState.ACCEPTED:
                return marked
            return concluded(marked, Outcome(state=JobState.CANCELLED, summary="cancelled before it started"))

        record = (await self._ledger.change(job, cancelled)).record
        if record.state.terminal:
            await self._outbox.status_again(record)
        return JobSummary.of(record)

    def _authorise(self, record: JobRecord, sender: Sender) -> None:
        """A claimed name grants nothing: where the door vouches for senders, it must be the same one."""
        if not record.sender.verified or sender == record.sender:
            return
        if sender.verified and sender.name in self._operators:
            return
        raise AgentError(ErrorCode.FORBIDDEN, f"only {record.sender.name} or an operator may cancel {record.job}")
