"""A reply that fits no message in, one that says where it is kept out."""

from dataclasses import replace
from hashlib import sha256

from nats.js.errors import NotFoundError

from acp.bus import Bus
from acp.reply import Reply
from acp.subjects import Subjects
from schemas.base import Record

HEADROOM = 8 * 1024
"""Bytes of a message left for subject and headers."""


class Kept(Record):
    """Where an answer lies that was too large to send."""

    object_store: str
    name: str
    bytes: int
    hash: str = "kept_v1"


async def fit(bus: Bus, reply: Reply) -> Reply:
    """`reply` itself where the broker takes a message of its size, else a reference to it in the object store."""
    if len(reply.body) <= bus.nc.max_payload - HEADROOM:
        return reply
    bucket = Subjects(bus.settings.agent).objects
    try:
        store = await bus.js.object_store(bucket)
    except NotFoundError:
        store = await bus.js.create_object_store(
            bucket, config=None, ttl=bus.settings.keep_s, replicas=bus.settings.replicas
        )
    name = sha256(reply.body).hexdigest()
    await store.put(name, reply.body)
    kept = Kept(object_store=bucket, name=name, bytes=len(reply.body))
    return replace(reply, body=kept.model_dump_json().encode())
