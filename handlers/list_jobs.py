"""LIST_JOBS in, the newest jobs out."""

from handlers.registry import Handler
from handlers.services import Services
from schemas.job import JobList
from schemas.query import ListJobs


async def answer(command: ListJobs, services: Services) -> JobList:
    """List jobs, newest first."""
    return await services.jobs.list(command.limit, command.state)


HANDLER = Handler(command=ListJobs, summary="Lists jobs, newest first.", answer=answer)
