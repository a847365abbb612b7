"""A peer's side: a command in, its reply and, where it became a job, every update up to the terminal one out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import nats
import nats.errors
import orjson
from nats.aio.client import Client

from acp.headers import FROM, JOB, KEY, SEQ
from acp.subjects import Subjects
from schemas.error import AgentError, ErrorCode, ErrorReply
from schemas.status import InferenceStatus, StatusUpdate

REPLY_S = 35.0
POLL_S = 1.0
PATIENCE = 6
"""Attempts to connect, two a second."""


@dataclass(frozen=True)
class Sent:
    """What came back: the reply's JSON, and for a job its id and its last update."""

    reply: str
    job: str | None = None
    terminal: StatusUpdate | None = None


@dataclass(frozen=True)
class Watch:
    """What to call while a job runs."""

    accepted: Callable[[str], None] = lambda _: None
    status: Callable[[InferenceStatus], None] = lambda _: None


async def send(
    command: Mapping[str, object] | bytes,
    url: str,
    *,
    agent: str = "inference-optimization-specialist",
    sender: str = "person",
    key: str | None = None,
    watch: Watch | None = None,
) -> Sent:
    """Send `command`; with `watch`, follow the job that it makes until its terminal update.

    Raises:
        AgentError: what the agent answered, or `broker_unavailable` where no agent listens.
    """
    try:
        client = await nats.connect(
            url, connect_timeout=5, max_reconnect_attempts=PATIENCE, reconnect_time_wait=0.5, error_cb=_untold
        )
    except (nats.errors.Error, OSError) as error:
        raise AgentError(
            ErrorCode.BROKER_UNAVAILABLE, f"no NATS server answers at {url}; start one or name it"
        ) from error
    try:
        head = {FROM: sender} | ({KEY: key} if key else {})
        sent = await request(client, command, agent, head)
        if sent.job is None or watch is None:
            return sent
        watch.accepted(sent.job)
        return replace(sent, terminal=await follow(client, agent, sent.job, watch.status))
    finally:
        await client.close()


async def _untold(_: Exception) -> None:
    """What goes wrong on the connection is told by whatever waits on it; a traceback beside that helps nobody."""


async def request(
    client: Client, command: Mapping[str, object] | bytes, agent: str, head: Mapping[str, str] | None = None
) -> Sent:
    """One request and its reply.

    Raises:
        AgentError: as `send`.
    """
    body = command if isinstance(command, bytes) else orjson.dumps(command)
    try:
        message = await client.request(Subjects(agent).command, body, timeout=REPLY_S, headers=dict(head or {}))
    except nats.errors.Error as error:
        raise AgentError(ErrorCode.BROKER_UNAVAILABLE, f"{agent} does not answer: {type(error).__name__}") from error
    answered = message.headers or {}
    if "Nats-Service-Error" in answered:
        refusal = ErrorReply.model_validate_json(message.data).error
        raise AgentError(refusal.code, refusal.detail)
    return Sent(message.data.decode(), job=answered.get(JOB))


async def follow(client: Client, agent: str, job: str, on_status: Callable[[InferenceStatus], None]) -> StatusUpdate:
    """Every update of `job` in order, from the first one, up to the terminal one, which comes back."""
    names = Subjects(agent)
    updates = await client.jetstream().subscribe(
        names.status(job), stream=names.stream("status"), ordered_consumer=True
    )
    seen = 0
    try:
        while True:
            try:
                message = await updates.next_msg(timeout=POLL_S)
            except nats.errors.TimeoutError:
                continue
            seq = int((message.headers or {}).get(SEQ, "0"))
            if seq <= seen:
                continue
            seen = seq
            update = StatusUpdate.model_validate_json(message.data)
            on_status(update.inference_status)
            if update.inference_status.state.terminal:
                return update
    finally:
        await updates.unsubscribe()
