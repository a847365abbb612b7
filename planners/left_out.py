"""A request in, what of it nobody read out: a limit under a misspelt name must not look like one that was kept."""

from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice

from schemas.command import OptimizeInference
from schemas.plan import Assumption

PARTS = ("current_perf", "targets", "constraints", "workload")
MOST = 10
"""Of hundreds of unknown keys, so many are named."""
NAME = 60
"""Characters of a key that are shown."""


def left_out(request: OptimizeInference) -> tuple[Assumption, ...]:
    """A line for each key that the request's parts have and the vocabulary has not, with the one it may stand for."""
    return tuple(islice(_unknown(request), MOST))


def _unknown(request: OptimizeInference) -> Iterator[Assumption]:
    for name in PARTS:
        part = getattr(request, name)
        for key in sorted(part.model_extra):
            near = get_close_matches(key[:NAME], type(part).model_fields, n=1)
            why = f"no such key is known{f'; {near[0]} is' if near else ''}"
            yield Assumption(name=f"{name}.{key[:NAME]}", value="left out", why=why)
