"""What earlier jobs measured of this model on this machine, for the plan; and what this job adds to it."""

from pathlib import Path

from executors import memory, models
from executors.host import identity
from handlers.workbench.bench import Bench
from handlers.workshop import Workshop
from planners.corrections import Corrections, planner_version
from schemas.correction import Correction, Memory, OperatingPoint
from schemas.plan import Strategy
from schemas.report import Comparison


def memory_of(workshop: Workshop, source: Path) -> Path:
    """Where what is known of a model's file on this machine is kept."""
    return workshop.memory / f"{identity()}-{models.fingerprint(source)}.json"


async def recalled(bench: Bench) -> Memory:
    """What was known when the job began; journaled, so that a restarted job plans as it did before."""

    async def recall() -> Memory:
        known = memory.recall(memory_of(bench.workshop, bench.source), planner_version())
        return Memory(planner=planner_version(), corrections=known)

    return await bench.step("recall", Memory, recall)


async def learn(
    bench: Bench, strategy: Strategy, comparisons: tuple[Comparison, ...], at: OperatingPoint | None
) -> None:
    """Keep what one strategy came to beside what the plan had said of it."""
    known = Corrections((await recalled(bench)).corrections)
    for pair in comparisons:
        known = known.with_measurement(strategy, pair, at)
    await remember(bench, known.measurements)


async def remember(bench: Bench, corrections: tuple[Correction, ...]) -> None:
    """Keep what was measured for later jobs."""
    await memory.remember(memory_of(bench.workshop, bench.source), planner_version(), corrections)
