"""Jobs as the ledger keeps them and as senders see them."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, NonNegativeInt

from schemas.base import Record
from schemas.delegation import HandoffOutcome, HandoffState, Peer
from schemas.status import InferenceStatus, JobState, StatusUpdate


class Sender(Record):
    """Who sent a message. `verified` only where the door itself knows; a name out of a message is a claim."""

    name: str = "anonymous"
    verified: bool = False


ANYBODY = Sender()
"""Whoever the door cannot name."""


class Outcome(BaseModel):
    """What a job came to; a handler adds what its command needs by subclassing."""

    model_config = ConfigDict(frozen=True, extra="allow", ser_json_inf_nan="null")

    state: JobState
    """One of the terminal states."""
    summary: str
    """One sentence for people."""
    status: InferenceStatus | None = None
    """The last update's figures; the last one reported where absent."""
    label: str | None = None
    """The last update's `hash`; the last one reported where absent."""


class Stored(BaseModel):
    """A record that other versions of this agent may have written: keys it does not know are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class JobRecord(Stored):
    """One job in the ledger; its revision there is the fence."""

    job: str
    cmd: str
    sender: Sender = Sender()
    digest: str
    """SHA-256 of the command's bytes: tells a repeated request from a different one under the same key."""
    state: JobState = JobState.ACCEPTED
    owner: str | None = None
    """The agent process that holds the lease."""
    epoch: NonNegativeInt = 0
    """Rises by one with every owner: the fence's token."""
    attempts: NonNegativeInt = 0
    seq: NonNegativeInt = 0
    """Number of the last update."""
    last: StatusUpdate | None = None
    """The last update, kept until it is known to be in the status stream and for those who ask later."""
    queued: int | None = None
    """Place of its message in the work stream."""
    cancel: bool = False
    accepted_at: str
    """ISO 8601, UTC; for people only, nothing is decided by it."""
    trace: str
    """W3C traceparent of the request."""


class PeerProgress(StrEnum):
    """How far a peer's work is, as its status says; `unknown` where it says nothing of that."""

    UNDER_WAY = "under_way"
    FINISHED = "finished"
    FAILED = "failed"
    UNKNOWN = "unknown"


class PeerStatus(Stored):
    """A status that a peer sent about a job: data, never an instruction."""

    sender: Sender
    hash: str
    body: str
    progress: PeerProgress = PeerProgress.UNKNOWN


class HandedOff(Record):
    """A hand-off of a job, with what the peer's later statuses say of it; shown, and never acted upon."""

    to_agent: Peer
    component: str
    state: HandoffState
    progress: PeerProgress = PeerProgress.UNKNOWN
    verified: bool = False
    """Whether the broker vouches for the sender of that status."""

    @classmethod
    def of(cls, outcome: HandoffOutcome, peers: "tuple[PeerStatus, ...]", alias: str) -> "HandedOff":
        """`outcome` with the last word of its peer, found as `alias` too; a vouched word goes before a claimed one."""
        told = [peer for peer in peers if peer.sender.name in {outcome.handoff.to_agent, alias}]
        told = [peer for peer in told if peer.progress is not PeerProgress.UNKNOWN]
        told = [peer for peer in told if peer.sender.verified] or told
        taken_on = outcome.state is HandoffState.ACCEPTED and told
        return cls(
            to_agent=outcome.handoff.to_agent,
            component=outcome.handoff.component,
            state=outcome.state,
            progress=told[-1].progress if taken_on else PeerProgress.UNKNOWN,
            verified=told[-1].sender.verified if taken_on else False,
        )


class JobSummary(Record):
    """A job as senders see it."""

    job: str
    cmd: str
    state: JobState
    accepted_at: str
    attempts: NonNegativeInt
    updates: NonNegativeInt
    status: InferenceStatus | None = None
    peers: tuple[PeerStatus, ...] = ()
    handoffs: tuple[HandedOff, ...] = ()

    @classmethod
    def of(
        cls, record: JobRecord, peers: tuple[PeerStatus, ...] = (), handoffs: tuple[HandedOff, ...] = ()
    ) -> "JobSummary":
        """What a sender may know of `record`."""
        return cls(
            job=record.job,
            cmd=record.cmd,
            state=record.state,
            accepted_at=record.accepted_at,
            attempts=record.attempts,
            updates=record.seq,
            status=record.last.inference_status if record.last else None,
            peers=peers,
            handoffs=handoffs,
        )


class AcceptedLabel(StrEnum):
    """The `hash` of an acceptance."""

    V1 = "accepted_v1"


class Accepted(Record):
    """The answer to a command that takes time: where to look for its updates."""

    accepted: str
    """The job's id."""
    state: JobState
    status_subject: str
    hash: AcceptedLabel = AcceptedLabel.V1


class JobAnswer(Record):
    """The answer to `JOB_STATUS` and `CANCEL_JOB`."""

    job: JobSummary
    hash: str = "job_v1"


class JobList(Record):
    """The answer to `LIST_JOBS`, newest first."""

    jobs: tuple[JobSummary, ...]
    total: NonNegativeInt
    hash: str = "jobs_v1"


class Pong(Record):
    """The answer to `PING`."""

    pong: str
    hash: str = "ping_v1"
