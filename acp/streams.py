"""The streams, consumers and buckets of an agent: made at start where they are missing, checked where they are not."""

import asyncio
from dataclasses import replace
from time import monotonic

from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    KeyValueConfig,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError, ServiceUnavailableError
from nats.js.kv import KeyValue

from acp.settings import Settings
from acp.subjects import Subjects
from schemas.error import AgentError, ErrorCode

CONSUMER = "agents"
INBOX_ACK_S = 30.0
MAX_ACK_PENDING = 1024
RETRY_S = 0.5


async def prepare(js: JetStreamContext, settings: Settings) -> KeyValue:
    """Make what is missing; the ledger's bucket comes back.

    A cluster that has just started answers once it has agreed on a leader, so it is asked until `connect_limit_s`.

    Raises:
        AgentError: `disk_full` where the broker has no room, `broker_unavailable` where it refuses otherwise.
    """
    give_up = monotonic() + (settings.connect_limit_s if settings.replicas > 1 else 0.0)
    while True:
        try:
            return await _made(js, settings)
        except (NoStreamResponseError, ServiceUnavailableError, TimeoutError) as error:
            if monotonic() > give_up:
                raise AgentError(
                    ErrorCode.BROKER_UNAVAILABLE, "JetStream does not answer this agent: enable it, and allow $JS.API.>"
                ) from error
        except APIError as error:
            code = ErrorCode.DISK_FULL if "insufficient" in str(error).lower() else ErrorCode.BROKER_UNAVAILABLE
            raise AgentError(code, f"the broker refuses this agent's streams: {error.description}") from error
        await asyncio.sleep(RETRY_S)


async def _made(js: JetStreamContext, settings: Settings) -> KeyValue:
    names = Subjects(settings.agent)
    for config in _streams(names, settings):
        await _ensure_stream(js, config)
    for kind, ack_wait_s in (("work", settings.ack_wait_s), ("inbox", INBOX_ACK_S)):
        await js.add_consumer(
            names.stream(kind),
            ConsumerConfig(
                durable_name=CONSUMER,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ack_wait_s,
                max_ack_pending=MAX_ACK_PENDING,
                max_deliver=-1,  # counted by the agent, which can then leave a dead letter and a terminal status
            ),
        )
    return await _ensure_bucket(js, names, settings)


def _streams(names: Subjects, settings: Settings) -> tuple[StreamConfig, ...]:
    agent = f"acp.{names.agent}"
    common = StreamConfig(
        storage=StorageType.FILE,
        duplicate_window=min(settings.dedupe_s, settings.keep_s),
        max_bytes=settings.stream_bytes,
        num_replicas=settings.replicas,
    )
    queue = replace(common, retention=RetentionPolicy.WORK_QUEUE, discard=DiscardPolicy.NEW)
    archive = replace(common, retention=RetentionPolicy.LIMITS, max_age=settings.keep_s)
    return (
        replace(
            queue,
            name=names.stream("work"),
            subjects=[f"{agent}.work.*"],
            max_msgs_per_subject=settings.queued_per_sender,
            discard_new_per_subject=True,
        ),
        replace(queue, name=names.stream("inbox"), subjects=[f"{agent}.inbox", f"{agent}.inbox.*"]),
        replace(archive, name=names.stream("status"), subjects=[f"{agent}.status.*", f"{agent}.answer.*"]),
        replace(archive, name=names.stream("dlq"), subjects=[f"{agent}.dlq"]),
    )


async def _ensure_stream(js: JetStreamContext, config: StreamConfig) -> None:
    try:
        await js.stream_info(config.name or "")
    except NotFoundError:
        await js.add_stream(config)
    else:
        await js.update_stream(config)


async def _ensure_bucket(js: JetStreamContext, names: Subjects, settings: Settings) -> KeyValue:
    try:
        bucket = await js.key_value(names.bucket)
        kept = (await js.stream_info(f"KV_{names.bucket}")).config
        if kept.num_replicas != settings.replicas:
            await js.update_stream(replace(kept, num_replicas=settings.replicas))
    except NotFoundError:
        config = KeyValueConfig(bucket=names.bucket, ttl=settings.keep_s, replicas=settings.replicas)
        return await js.create_key_value(config)
    return bucket
