"""Hand-offs: out to a peer with a bounded wait, in with a hop limit and a list of the agents that passed it on."""

import nats.errors
import structlog

from acp import codec, headers
from acp.bus import Bus
from acp.envelope import classify
from acp.headers import Headers
from acp.subjects import peer_command
from schemas.delegation import Handoff, HandoffOutcome, HandoffState
from schemas.error import AgentError, ErrorCode

log = structlog.get_logger()
ANSWER_CHARS = 4096


class Delegation:
    """Asks peers on their command subjects."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def ask(self, handoff: Handoff, job: str, trace: str, came_with: Headers = headers.NONE) -> HandoffOutcome:
        """The peer's answer, or `unanswered` after the time-out or where nobody listens; never an error."""
        agent = self._bus.settings.agent
        head = {
            headers.MESSAGE_ID: f"{job}.{handoff.to_agent}.{handoff.component}"[: headers.LONGEST],
            headers.JOB: job,
            headers.FROM: agent,
            headers.TRACE: trace,
            headers.HOPS: str(came_with.hops + 1),
            headers.SEEN: ",".join((*came_with.seen, agent)),
        }
        body = codec.encode(handoff.model_dump(mode="json", exclude_none=True))
        try:
            reply = await self._bus.nc.request(
                peer_command(self._bus.settings.peers.get(handoff.to_agent, handoff.to_agent)),
                body,
                timeout=self._bus.settings.handoff_s,
                headers=head,
            )
        except nats.errors.Error as error:
            log.warning("handoff_unanswered", peer=handoff.to_agent, error=type(error).__name__)
            return HandoffOutcome(handoff=handoff, state=HandoffState.UNANSWERED)
        answer = reply.data[: codec.BODY_BYTES].decode(errors="replace")[:ANSWER_CHARS]
        return HandoffOutcome(handoff=handoff, state=_state(reply.data, reply.headers), answer=answer)


def _state(body: bytes, head: dict[str, str] | None) -> HandoffState:
    """What a peer's reply means for the hand-off."""
    if head and "Nats-Service-Error" in head:
        return HandoffState.REFUSED
    said = classify(body).body
    if "error" in said:
        return HandoffState.REFUSED
    return HandoffState.ACCEPTED if "accepted" in said else HandoffState.ANSWERED


def admit(agent: str, limit: int, came_with: Headers) -> None:
    """Refuse what has been handed on too often or comes back to where it was.

    Raises:
        AgentError: `delegation_loop`.
    """
    if agent in came_with.seen:
        raise AgentError(
            ErrorCode.DELEGATION_LOOP, "this hand-off has been here before; answer it instead of passing it on"
        )
    if max(came_with.hops, len(came_with.seen)) > limit:
        raise AgentError(ErrorCode.DELEGATION_LOOP, f"handed on more than {limit} times; ask {agent} directly")
