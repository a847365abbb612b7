"""What a person who watches the agent sees: jobs, their updates and deployments, as records of what is new."""

from pydantic import AwareDatetime, NonNegativeInt

from schemas.base import Record
from schemas.deployment import DeploymentReport
from schemas.job import JobSummary
from schemas.status import StatusUpdate


class JobCard(Record):
    """One job as it is now."""

    job: JobSummary
    changed_at: AwareDatetime
    """When its record was last written, by the broker's clock."""
    ending: bool
    """Whether its end was asked for."""


class TimedUpdate(Record):
    """One update of a job, with its number there and the broker's time of it."""

    job: str
    seq: NonNegativeInt
    at: AwareDatetime
    update: StatusUpdate


class Board(Record):
    """What is new since the reader's last board; the first one holds everything that is kept."""

    agent: str
    ready: bool
    """Whether the agent answers: started, not draining, and the broker within reach."""
    nats: str
    """Where commands may be sent, without credentials."""
    at: AwareDatetime
    """Now, by the agent's clock."""
    jobs: tuple[JobCard, ...] = ()
    updates: tuple[TimedUpdate, ...] = ()
    """In order."""
    deployments: tuple[DeploymentReport, ...] | None = None
    """All of them, where any changed; None where none did."""
    hash: str = "board_v1"
