"""What a job leaves for whoever operates its result: the release, what to expect of it, and the files."""

from schemas.base import Record
from schemas.cluster import ClusterRelease, Manifest
from schemas.evidence import Estimate


class Expected(Record):
    """One figure that the release should show in production, with the load it holds for."""

    metric: str
    figure: Estimate
    conditions: str


class Refused(Record):
    """A way into production that was not written, and why."""

    way: str
    why: str


class HandOver(Record):
    """All that the guide is made of."""

    release: ClusterRelease
    gated: bool
    """Whether the quality gate has passed these weights."""
    verdict: str
    """What the job found, in one sentence."""
    done: tuple[str, ...]
    """What was done, one sentence each."""
    expected: tuple[Expected, ...]
    manifests: tuple[Manifest, ...] = ()
    folders: tuple[str, ...] = ()
    """Of `deploy/` in the job's folder: `kubernetes`, `ray`, `compose`, `systemd`."""
    refused: tuple[Refused, ...] = ()
    undo: str
