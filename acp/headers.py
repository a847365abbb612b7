"""Headers in, a record out: ids, sender, job, sequence and trace, which never stand in a body."""

import re
import secrets
from collections.abc import Mapping
from typing import Final

from pydantic import Field

from schemas.base import Record

MESSAGE_ID: Final = "Nats-Msg-Id"
JOB: Final = "Acp-Job"
FROM: Final = "Acp-From"
SEQ: Final = "Acp-Seq"
TRACE: Final = "traceparent"
KEY: Final = "Idempotency-Key"
HOPS: Final = "Acp-Hops"
SEEN: Final = "Acp-Seen"
ENCODING: Final = "Content-Encoding"
DIGEST: Final = "Content-Digest"
LONGEST: Final = 256

_TRACE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Headers(Record):
    """What the headers of one message say; absent or malformed ones are None."""

    message_id: str | None = None
    job: str | None = None
    claimed: str | None = None
    """`Acp-From`: a claim, which grants nothing."""
    key: str | None = None
    trace: str | None = None
    encoding: str | None = None
    hops: int = 0
    seen: tuple[str, ...] = ()
    place: str | None = Field(default=None, exclude=True)
    """Where a message without a key lies in the inbox: no header, so that no sender can claim another's."""

    @property
    def request_key(self) -> str | None:
        """What makes two requests the same one, as the sender says: `Idempotency-Key`, else `Nats-Msg-Id`."""
        return self.key or self.message_id

    @property
    def identity(self) -> str | None:
        """What makes two deliveries the same request: the sender's key, else the place in the inbox."""
        return f"key\0{self.request_key}" if self.request_key else self.place and f"place\0{self.place}"


NONE: Final = Headers()


def read(raw: Mapping[str, str] | None) -> Headers:
    """The record of `raw`, whatever the case of its names; never raises."""
    if not raw:
        return NONE
    low = {name.lower(): value[:LONGEST] for name, value in raw.items()}
    trace = low.get(TRACE, "")
    hops = low.get(HOPS.lower(), "")
    return Headers(
        message_id=low.get(MESSAGE_ID.lower()),
        job=low.get(JOB.lower()),
        claimed=low.get(FROM.lower()),
        key=low.get(KEY.lower()),
        trace=trace if _TRACE.fullmatch(trace) else None,
        encoding=low.get(ENCODING.lower()),
        hops=int(hops) if hops.isascii() and hops.isdigit() else 0,
        seen=tuple(filter(None, low.get(SEEN.lower(), "").split(","))),
    )


def new_trace() -> str:
    """A fresh W3C traceparent."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
