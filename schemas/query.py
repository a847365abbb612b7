"""Commands about jobs and about the agent itself, answered at once."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.command import Command
from schemas.status import JobState

JobId = Field(min_length=1, max_length=64)


class Ping(Command):
    """Is anybody there?"""

    cmd: Literal["PING"]


class JobStatus(Command):
    """How far is a job?"""

    cmd: Literal["JOB_STATUS"]
    job: str = JobId


class ListJobs(Command):
    """Which jobs are there?"""

    cmd: Literal["LIST_JOBS"]
    limit: int = Field(default=50, ge=1, le=500)
    state: JobState | None = None


class CancelJob(Command):
    """End a job."""

    cmd: Literal["CANCEL_JOB"]
    job: str = JobId


class DiscoverCapabilities(Command):
    """What can this agent do, and does it fit a need?"""

    cmd: Literal["DISCOVER_CAPABILITIES"]
    needs: tuple[Annotated[str, Field(max_length=128)], ...] = Field(default=(), max_length=64)
    """Words or command names that the asker looks for."""
