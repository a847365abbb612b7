"""Limits of those without priority: what is promised to those who have it, what is seen, and what was decided."""

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from schemas.base import Record
from schemas.traffic import RequestSeen


class Promise(Record):
    """What requests of a high priority are to keep to, and how carefully the rest is let in."""

    p95_ms: PositiveFloat
    """At the gateway, queue included."""
    enough: PositiveInt = 20
    """Requests of a high priority in a row that must have kept to it before the rest gets one more: where that is too
    many, one of them is late, and 5 % may be."""
    quiet_s: PositiveFloat = 30.0
    """Or so long without any: then it gets twice as many."""
    reserve: NonNegativeInt = 1
    """Slots of each replica that the rest never gets."""


class Traffic(Record):
    """A deployment at one moment, and what was finished since the look before."""

    at_s: float
    """Seconds since 1970."""
    queued: NonNegativeInt
    """Requests without priority that wait to be let in."""
    inside: NonNegativeInt
    """And those that were."""
    slots: PositiveInt
    """Of one replica."""
    replicas: PositiveInt
    urgent: tuple[RequestSeen, ...]
    """Those of a high priority that were finished."""


class LimitState(Record):
    """What the rule remembers between looks."""

    limit: PositiveInt
    replicas: PositiveInt
    changed_s: float
    kept: NonNegativeInt = 0
    """Requests of a high priority that came after the change and were in time."""
    peak: NonNegativeInt = 0
    """Of the rest, so many were inside at once meanwhile."""


class LimitDecision(Record):
    """How many requests without priority may be with the engines from now on, and why."""

    limit: PositiveInt
    why: str
    state: LimitState
