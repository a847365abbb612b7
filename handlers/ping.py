"""PING in, the agent's name out."""

from handlers.registry import Handler
from handlers.services import Services
from schemas.job import Pong
from schemas.query import Ping


async def answer(_: Ping, services: Services) -> Pong:
    """Say that this agent is here."""
    return Pong(pong=services.agent)


HANDLER = Handler(command=Ping, summary="Answers with the agent's name.", answer=answer, instant=True)
