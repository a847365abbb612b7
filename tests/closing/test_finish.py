"""What is recommended, and what is left to others, follows from what was measured and from nothing else."""

import pytest
from closing.records import gate, load, trial

from handlers.optimization.delegate import after_run
from handlers.optimization.finish import recommended
from schemas.command import OptimizeInference
from schemas.delegation import Peer
from schemas.measurement import GateVerdict
from schemas.report import Trial

COMMAND = OptimizeInference.model_validate({"cmd": "OPTIMIZE_INFERENCE", "model": "m", "targets": {"throughput": 2}})


@pytest.mark.parametrize(
    ("served", "baseline", "chosen"),
    [
        ([2.5, 3.0], 1.0, 1),
        ([3.0, 2.5], 1.0, 0),
        ([1.5, None], 1.0, 0),
        ([None, None], 1.0, None),
        ([0.8], 1.0, None),
        ([2.5], 3.0, None),
        ([], 1.0, None),
    ],
)
def test_what_meets_most_limits_and_then_the_fastest_is_recommended(
    served: list[float | None], baseline: float, chosen: int | None
) -> None:
    """A strategy that is slower than the untouched model and meets no more limits is never recommended."""
    trials = tuple(trial(f"Q{number}", rps) for number, rps in enumerate(served))
    best = recommended(COMMAND, trials, load(baseline, 1000 / baseline))
    assert best is (None if chosen is None else trials[chosen])


@pytest.mark.parametrize(
    ("verdicts", "peers"),
    [
        ([GateVerdict.PASSED, GateVerdict.FAILED], []),
        ([GateVerdict.FAILED, GateVerdict.FAILED], [Peer.FINE_TUNING]),
        ([GateVerdict.UNDECIDED], [Peer.AI_ML]),
        ([GateVerdict.UNDECIDED, GateVerdict.FAILED], [Peer.AI_ML]),
        ([], []),
    ],
)
def test_peers_are_asked_for_what_the_gate_showed(verdicts: list[GateVerdict], peers: list[Peer]) -> None:
    """Undecided is not lost quality: training is asked for only where every format failed."""
    trials: tuple[Trial, ...] = tuple(
        trial("Q", None).model_copy(update={"gate": gate(0.1, verdict)}) for verdict in verdicts
    )
    assert [item.peer for item in after_run(trials, ())] == peers
