"""A peer's status in, how far its work is out. The words decide what is shown with a job, and never what is done."""

import re
from collections.abc import Iterator
from typing import Any, Final

from schemas.job import PeerProgress
from schemas.quantity import Dimension, parse_quantity

_FINISHED: Final = frozenset(
    [
        "complete",
        "completed",
        "converged",
        "deployed",
        "done",
        "finished",
        "healthy",
        "live",
        "promoted",
        "provisioned",
        "ready",
        "succeeded",
        "success",
        "successful",
        "trained",
    ]
)
_FAILED: Final = frozenset(
    [
        "aborted",
        "canceled",
        "cancelled",
        "crashed",
        "diverged",
        "error",
        "errored",
        "failed",
        "failure",
        "rejected",
        "reverted",
        "rollback",
        "rolled",
        "timeout",
        "unhealthy",
    ]
)
_UNDER_WAY: Final = frozenset(
    [
        "accepted",
        "building",
        "deploying",
        "pending",
        "preparing",
        "progress",
        "progressing",
        "provisioning",
        "queued",
        "running",
        "scheduled",
        "started",
        "starting",
        "training",
        "working",
    ]
)
_STATES: Final = frozenset(["status", "state", "phase", "stage", "outcome", "result"])
"""Keys whose value names a state, also as one word of several: `"status":"TRAINING_COMPLETE"`."""
_SHARES: Final = frozenset(["progress", "completion", "percent_complete"])
_REMAINING: Final = frozenset(["est_completion", "estimated_completion", "eta", "remaining", "time_remaining"])
_NOTHING_LEFT: Final = re.compile(r"0+(\.0+)?\s*[a-z]*")
_LONGEST: Final = 64
"""Characters of a state: what is longer is prose, and prose is not read."""


def progress(body: dict[str, Any]) -> PeerProgress:
    """How far the peer's work is, as `body` says in the family's words; whatever contradicts itself is not finished.

    Read are whole words that name a state wherever they stand (`"k8s_cluster":"healthy"`), states under their usual
    keys, shares of a whole (`"progress":"85 %"`), estimates of what remains, and flags (`"done":true`).
    """
    said = set(_signs(body))
    for verdict in (PeerProgress.FAILED, PeerProgress.UNDER_WAY, PeerProgress.FINISHED):
        if verdict in said:
            return verdict
    return PeerProgress.UNKNOWN


def _signs(value: dict[str, Any]) -> Iterator[PeerProgress]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _signs(item)
        else:
            yield from _sign(key.casefold(), item)


def _sign(key: str, item: object) -> Iterator[PeerProgress]:
    if key in _REMAINING:
        yield from _remaining(item)
    elif key in _SHARES:
        yield from _share(item)
    elif isinstance(item, bool):
        yield from _flag(key, holds=item)
    elif isinstance(item, str) and len(item) <= _LONGEST and key != "hash":
        words = re.split(r"[\s_-]+", item.strip().casefold())
        if len(words) == 1 or (key in _STATES and not {"not", "no", "un"} & set(words)):
            yield from [state for state in map(_state, words) if state][-1:]  # "training complete": the last one counts
    if key == "error" and item:
        yield PeerProgress.FAILED


def _state(word: str) -> PeerProgress | None:
    if word in _FAILED:
        return PeerProgress.FAILED
    if word in _UNDER_WAY:
        return PeerProgress.UNDER_WAY
    return PeerProgress.FINISHED if word in _FINISHED else None


def _flag(key: str, *, holds: bool) -> Iterator[PeerProgress]:
    meant = _state(key)
    if meant is not None and holds:
        yield meant
    elif meant is PeerProgress.FINISHED:
        yield PeerProgress.UNDER_WAY


def _share(item: object) -> Iterator[PeerProgress]:
    """A share of 1 is finished; a bare number above 1 is taken for per cent."""
    try:
        share = parse_quantity(item, Dimension.FRACTION)
    except ValueError:
        if isinstance(item, str):
            yield from filter(None, [_state(item.strip().casefold())])
        return
    whole = 100.0 if share > 1 and not isinstance(item, str) else 1.0
    yield PeerProgress.FINISHED if share >= whole else PeerProgress.UNDER_WAY


def _remaining(item: object) -> Iterator[PeerProgress]:
    text = str(item).strip().casefold() if item is not None else ""
    if text:
        over = _NOTHING_LEFT.fullmatch(text) is not None or _state(text) is PeerProgress.FINISHED
        yield PeerProgress.FINISHED if over else PeerProgress.UNDER_WAY
