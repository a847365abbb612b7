"""What an agent must be allowed to do, tried at start without leaving a trace.

NATS tells a denied publish only to the error callback, so a missing permission would otherwise be silent loss.
"""

from acp.bus import Bus
from acp.subjects import Subjects
from schemas.error import AgentError, ErrorCode

NOWHERE = {"Nats-Expected-Stream": "none-of-this-name"}
"""A stream refuses a message that expects another stream, so nothing is stored."""


async def check_permissions(bus: Bus) -> None:
    """Try what commands and jobs need: publishing and subscribing that a peer could not tell from silence.

    Published to: work, status, answer, dead letters, the ledger's bucket. Subscribed to: both command subjects and an
    inbox for replies. Not tried: `$JS.API.>` and `$JS.ACK.>`, which answer for themselves; `$SRV.>`; the object store;
    peers' command subjects, because a peer would take the attempt for a message.

    Raises:
        AgentError: `forbidden`, with the server's own words.
    """
    subjects = Subjects(bus.settings.agent)
    before = len(bus.denied)
    for subject in (
        subjects.work("selfcheck"),
        subjects.status("selfcheck"),
        subjects.answer("selfcheck"),
        subjects.dead_letters,
        f"$KV.{subjects.bucket}.selfcheck",
    ):
        await bus.nc.publish(subject, b"", reply=bus.nc.new_inbox(), headers=NOWHERE)
    for subject in (subjects.command, subjects.command_verified, bus.nc.new_inbox()):
        subscription = await bus.nc.subscribe(subject, queue="selfcheck")
        await subscription.unsubscribe()
    await bus.nc.flush()
    await bus.nc.flush()  # the client's first ping may overtake what it still holds back; the second cannot
    denied = bus.denied[before:]
    if denied:
        raise AgentError(
            ErrorCode.FORBIDDEN, f"NATS denies this agent: {'; '.join(denied)}; grant it, see docs/nats.md"
        )
