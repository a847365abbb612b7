"""A release in, its files in the job's folder out: manifests, guide and runbook."""

from collections.abc import Callable
from pathlib import Path

from executors.deploy import compose, kubernetes, ray, systemd
from executors.deploy.alerts import alerts
from executors.files import write_whole
from handlers.markdown.handover import guide
from handlers.markdown.runbook import release_runbook
from schemas.cluster import ClusterRelease
from schemas.error import AgentError
from schemas.handover import Expected, HandOver, Refused

FOLDER = "deploy"
GUIDE, RUNBOOK = "handover.md", "runbook.md"
WRITERS: dict[str, Callable[[Path, ClusterRelease], None]] = {
    "kubernetes": lambda folder, release: kubernetes.write(folder, kubernetes.manifests(release)),
    "ray": ray.write,
    "compose": compose.write,
    "systemd": systemd.write,
}


def leave(
    directory: Path,
    release: ClusterRelease,
    *,
    gated: bool,
    verdict: str,
    done: tuple[str, ...],
    expected: tuple[Expected, ...],
    undo: str,
) -> HandOver:
    """Write `handover.md`, `runbook.md` and `deploy/` into `directory`; a way that cannot be written is told why."""
    written, refused = [], []
    for way, write in WRITERS.items():
        try:
            write(directory / FOLDER / way, release)
            written.append(way)
        except AgentError as error:
            refused.append(Refused(way=way, why=error.detail))
    left = HandOver(
        release=release,
        gated=gated,
        verdict=verdict,
        done=done,
        expected=expected,
        manifests=kubernetes.manifests(release) if "kubernetes" in written else (),
        folders=tuple(written),
        refused=tuple(refused),
        undo=undo,
    )
    write_whole(directory / GUIDE, guide(left, alerts()))
    write_whole(directory / RUNBOOK, release_runbook(left, alerts()))
    return left
