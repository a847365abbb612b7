"""Engines and accelerators in, facts of the cluster's side out: image, words, metrics, resource, node label."""

import csv
from functools import cache
from pathlib import Path

from schemas.cluster import ClusterRelease, EngineContainer, Placement
from schemas.error import AgentError, ErrorCode
from schemas.hardware import Accelerator, AcceleratorKind

FOLDER = Path(__file__).parent
MODELS = "/models"
"""Where a container finds the volume of models."""
CPU = "cpu"


@cache
def containers() -> tuple[EngineContainer, ...]:
    """Every row of `containers.csv`."""
    split = ("command", "buckets", "nodes", "worker")
    rows = _rows("containers")
    return tuple(EngineContainer.model_validate(row | {key: tuple(row[key].split()) for key in split}) for row in rows)


@cache
def placements() -> dict[str, Placement]:
    """Every row of `placements.csv` by its accelerator's key in the hardware catalog."""
    return {row["accelerator"]: Placement.model_validate(row) for row in _rows("placements")}


def container_of(release: ClusterRelease) -> EngineContainer:
    """How the release's engine runs on its accelerators.

    Raises:
        AgentError: `unsupported` where no image of that engine is known for them.
    """
    engine, vendor = release.strategy.engine, vendor_of(release.accelerator)
    for row in containers():
        if (row.engine, row.vendor) == (engine, vendor):
            return row
    known = ", ".join(sorted({row.engine for row in containers() if row.vendor == vendor}))
    detail = f"no container of {engine} for {vendor} accelerators is known; known for them: {known or 'none'}"
    raise AgentError(ErrorCode.UNSUPPORTED, detail)


def placement_of(release: ClusterRelease) -> Placement | None:
    """How the cluster knows the release's accelerator; None on processors, which need no resource of their own.

    Raises:
        AgentError: `unsupported` where the cluster's name for the accelerator is not known.
    """
    accelerator = release.accelerator
    if vendor_of(accelerator) == CPU:
        return None
    if accelerator.key not in placements():
        detail = f"no node label is known for {accelerator.key}; add it to executors/deploy/placements.csv"
        raise AgentError(ErrorCode.UNSUPPORTED, detail)
    return placements()[accelerator.key]


def vendor_of(accelerator: Accelerator) -> str:
    """Whose images fit: the accelerator's vendor, or `cpu`."""
    return CPU if accelerator.kind is AcceleratorKind.CPU else accelerator.vendor


def words(release: ClusterRelease, container: EngineContainer, *, folder: str = MODELS) -> tuple[str, ...]:
    """The whole command of one machine's engine; the model's file lies in `folder`.

    Raises:
        AgentError: `unsupported` where a replica spans machines and the engine cannot without a launcher of its own, or
            where it reads settings from a file.
    """
    if release.nodes > 1 and not container.nodes:
        detail = f"{container.engine} joins machines by a launcher of its own, which is not written here"
        raise AgentError(ErrorCode.UNSUPPORTED, detail)
    if release.settings:
        raise AgentError(
            ErrorCode.UNSUPPORTED, f"{container.engine} reads a file of settings, which is not laid out here"
        )
    facts = {"{model}": f"{folder}/{release.weights}", "{name}": release.name, "{port}": str(container.port)}
    facts["{nodes}"] = str(release.nodes)
    span = container.nodes if release.nodes > 1 else ()
    return tuple(facts.get(word, word) for word in (*container.command, *release.arguments, *span))


def _rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
