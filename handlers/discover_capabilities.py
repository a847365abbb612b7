"""DISCOVER_CAPABILITIES in, CAPABILITY_MATCH out: what this agent can do, and which needs that meets."""

from handlers import registry
from handlers.services import Services
from schemas.capability import Capability, CapabilityMatch
from schemas.query import DiscoverCapabilities


async def answer(command: DiscoverCapabilities, services: Services) -> CapabilityMatch:
    """Match needs against the names and summaries of what is available."""
    found = registry.discover().values()
    capabilities = tuple(Capability(cmd=it.cmd, summary=it.summary, available=it.available) for it in found)
    words = " ".join(f"{it.cmd} {it.summary}" for it in capabilities if it.available).lower().replace("_", " ")
    matched = tuple(need for need in command.needs if need.lower().replace("_", " ") in words)
    score = len(matched) / len(command.needs) if command.needs else 1.0
    return CapabilityMatch(agent=services.agent, capabilities=capabilities, matched=matched, score=score)


HANDLER = registry.Handler(
    command=DiscoverCapabilities, summary="Says what this agent can do and what of a need it meets.", answer=answer
)
