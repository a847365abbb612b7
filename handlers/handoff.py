"""HANDOFF in from a peer; out comes what OPTIMIZE_INFERENCE makes of its context."""

from pydantic import BaseModel, ValidationError

from handlers import optimize_inference
from handlers.context import JobContext
from handlers.registry import Handler
from handlers.services import Services
from schemas.command import OptimizeInference
from schemas.delegation import HandoffReceived
from schemas.error import AgentError, ErrorCode, first_error
from schemas.job import Outcome


def _request(command: HandoffReceived) -> OptimizeInference:
    """The context as the command that it describes.

    Raises:
        AgentError: `invalid_command` where it does not describe one.
    """
    body = {**command.context, "cmd": "OPTIMIZE_INFERENCE", "respond_format": command.respond_format}
    try:
        return OptimizeInference.model_validate(body)
    except ValidationError as error:
        raise AgentError(ErrorCode.INVALID_COMMAND, first_error(error, ("context",))) from error


def starts_job(command: HandoffReceived, services: Services) -> bool:
    """As the command in the context does; a hand-off for another agent is refused."""
    if command.to_agent != services.agent:
        raise AgentError(ErrorCode.FORBIDDEN, f"this hand-off is for {command.to_agent}, and this is {services.agent}")
    return optimize_inference.starts_job(_request(command), services)


async def answer(command: HandoffReceived, services: Services) -> BaseModel:
    """The answer to the command in the context."""
    return await optimize_inference.answer(_request(command), services)


async def work(command: HandoffReceived, context: JobContext, services: Services) -> Outcome:
    """Carry the command in the context out."""
    return await optimize_inference.work(_request(command), context, services)


HANDLER = Handler(
    command=HandoffReceived,
    summary="Takes over a component that a peer hands on: its context describes an OPTIMIZE_INFERENCE.",
    answer=answer,
    work=work,
    starts_job=starts_job,
)
