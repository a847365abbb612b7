import random
from pathlib import Path

from benchmarks.chaos import Chaos

SECONDS = 25


async def test_f27_every_accepted_job_ends_once_though_anything_is_killed(tmp_path: Path) -> None:
    """Three agents and a broker, any of them killed at random: each accepted job reaches one terminal status.

    `benchmarks/chaos.py` does the same for minutes.
    """
    chaos = Chaos(tmp_path, random.Random(27))  # noqa: S311 - no secret

    held = await chaos.run(SECONDS)

    counts = chaos.counts
    assert held, counts
    assert counts["jobs with exactly one terminal status"] == counts["jobs"] == counts["requests accepted"]
    assert (counts["jobs lost"], counts["jobs completed by more than one run"]) == (0, 0)
    assert counts["jobs"] > 10
    assert counts["kills of agents"] > 0
    assert counts["kills of the broker"] > 0
