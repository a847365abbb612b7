"""What handlers may use besides their command: jobs, who asks, and where runs are kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from handlers.workshop import Workshop
from schemas.job import ANYBODY, JobList, JobSummary, Sender
from schemas.status import JobState


class Jobs(Protocol):
    """Questions and orders about jobs."""

    async def summary(self, job: str) -> JobSummary:
        """One job; raises AgentError `unknown_job`."""

    async def list(self, limit: int, state: JobState | None = None) -> JobList:
        """The newest jobs."""

    async def cancel(self, job: str, sender: Sender) -> JobSummary:
        """Ask for a job's end; raises AgentError `unknown_job`, `forbidden`, `not_cancelable`."""


@dataclass(frozen=True)
class Services:
    """One request's view of the agent."""

    agent: str
    jobs: Jobs
    runs_dir: Path
    workshop: Workshop
    sender: Sender = ANYBODY
