"""CANCEL_JOB in, the job that will end out."""

from handlers.registry import Handler
from handlers.services import Services
from schemas.job import JobAnswer
from schemas.query import CancelJob


async def answer(command: CancelJob, services: Services) -> JobAnswer:
    """Ask for a job's end in the sender's name."""
    return JobAnswer(job=await services.jobs.cancel(command.job, services.sender))


HANDLER = Handler(
    command=CancelJob,
    summary="Ends a job: a verified sender's only for that sender or an operator, any other for anybody.",
    answer=answer,
)
