"""The corrections store: what jobs on this machine measured of a model, kept for the plans that come after them."""

from pathlib import Path

from executors.files import locked, write_whole
from schemas.correction import LOSS, Correction, Memory

LONGEST = 500
"""Corrections kept for one model; the oldest go first."""


def recall(path: Path, planner: str) -> tuple[Correction, ...]:
    """What is remembered in `path`; of another planner only losses, which need no ratio."""
    if not path.exists():
        return ()
    memory = Memory.model_validate_json(path.read_bytes())
    return tuple(
        correction for correction in memory.corrections if memory.planner == planner or correction.metric == LOSS
    )


async def remember(path: Path, planner: str, corrections: tuple[Correction, ...]) -> None:
    """Add `corrections`; what is remembered of the same strategy, metric and operating point is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    async with locked(path.with_suffix(".lock"), lambda: None):
        merged = {(item.strategy, item.metric, item.at): item for item in (*recall(path, planner), *corrections)}
        kept = tuple(merged.values())[-LONGEST:]
        write_whole(path, Memory(planner=planner, corrections=kept).model_dump_json(indent=1))
