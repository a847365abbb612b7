"""JOB_STATUS in, what the ledger knows of one job out."""

from handlers.registry import Handler
from handlers.services import Services
from schemas.job import JobAnswer
from schemas.query import JobStatus


async def answer(command: JobStatus, services: Services) -> JobAnswer:
    """Look one job up."""
    return JobAnswer(job=await services.jobs.summary(command.job))


HANDLER = Handler(command=JobStatus, summary="Says how far a job is.", answer=answer)
