"""Autoscaling: what is seen of a deployment, by which rule, and what was decided."""

import math

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from schemas.base import Record


class Load(Record):
    """A deployment at one moment. `at_s` on any clock that only goes forward."""

    at_s: float
    queued: NonNegativeInt
    """Requests that wait for a slot."""
    open_requests: NonNegativeInt
    """Requests that have one."""
    slots: PositiveFloat
    """Requests that one replica serves at once, as its limits are now."""


class ScalingRule(Record):
    """When to add and when to remove. Times in seconds."""

    most: PositiveInt
    """Limit of machine and budget."""
    fewest: PositiveInt = 1
    target: float = Field(default=0.7, gt=0, lt=1)
    """Share of the slots that should be busy: what is left absorbs bursts."""
    low: float = Field(default=0.5, gt=0, lt=1)
    """Share of the slots, with one replica fewer, below which one may leave."""
    ready_s: NonNegativeFloat = 10.0
    """From the decision until a new replica serves: how far ahead demand is foretold."""
    smooth_s: PositiveFloat = 3.0
    """Demand is smoothed over so long: the time constant of Holt's level."""
    trend_s: PositiveFloat = 15.0
    """And its slope over so long."""
    up_looks: PositiveInt = 3
    """Looks in a row that must ask for more before more are added."""
    up_cooldown_s: NonNegativeFloat = 10.0
    """After any change, before more are added: those just added must have had time to help."""
    down_hold_s: PositiveFloat = 60.0
    """How long it must have been calm, without a change, before one leaves; longer after each that was missed."""


class Demand(Record):
    """Requests that wait or are served, smoothed by Holt's method."""

    at_s: float
    level: NonNegativeFloat
    slope: float = 0.0
    """By how many they grow each second."""


class ScalingState(Record):
    """What the rule remembers between looks."""

    replicas: PositiveInt
    changed_s: float = -math.inf
    calm_since_s: float | None = None
    left_s: float = -math.inf
    """When a replica last left."""
    patience: PositiveFloat = 1.0
    """How many times the rule's calm is waited for."""
    short: NonNegativeInt = 0
    """Looks in a row that asked for more replicas."""
    demand: Demand | None = None


class ScalingDecision(Record):
    """How many replicas from now on, and why."""

    replicas: PositiveInt
    why: str
    state: ScalingState
