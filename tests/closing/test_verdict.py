"""Each target and constraint gets its own line, met or not, with the conditions it was measured under."""

import pytest
from closing.records import gate, load

from handlers.optimization.verdict import before_after, capacity, lines
from schemas.command import OptimizeInference, Performance
from schemas.measurement import GateVerdict


def command(**targets: object) -> OptimizeInference:
    """A request with these targets."""
    return OptimizeInference(cmd="OPTIMIZE_INFERENCE", model="m", targets=Performance.model_validate(targets))


@pytest.mark.parametrize(
    ("targets", "met"),
    [
        ({"throughput": 1.9}, True),
        ({"throughput": 2.1}, False),
        ({"throughput_tokens": "48 tok/s"}, True),
        ({"latency_p95": "2s"}, True),
        ({"latency_p95": 1999}, False),
        ({"latency_p50": 1000, "latency_p99": 3000}, True),
        ({"ttft_p95": 499}, False),
        ({"tpot_p50": 25}, True),
    ],
)
def test_a_target_is_met_only_by_what_was_measured(targets: dict[str, object], met: bool) -> None:  # noqa: FBT001
    """Times are upper limits at Poisson arrivals, rates are lower limits at capacity."""
    found = lines(command(**targets), load(2, 1000), None, None)
    assert len(found) == len(targets)
    assert all(line.met is met for line in found)
    assert all("64 tokens in, 24 out" in line.conditions for line in found)


def test_a_level_with_errors_meets_nothing() -> None:
    """Failed requests make a latency worthless, however good it looks."""
    (line,) = lines(command(latency_p95=1e6), load(2, 1000, errors=1), None, None)
    assert not line.met


@pytest.mark.parametrize("verdict", list(GateVerdict))
def test_only_a_passed_gate_meets_the_quality_limit(verdict: GateVerdict) -> None:
    """Undecided is not met."""
    (line,) = lines(command(), load(2, 1000), gate(0.0, verdict), None)
    assert line.met is (verdict is GateVerdict.PASSED)


def test_before_and_after_compare_the_same_figures() -> None:
    """Every row holds the same metric of both."""
    rows = before_after(load(2, 1000), load(3, 700))
    assert [row.after.value / row.before.value for row in rows][:2] == [1.5, 1.5]
    assert {row.metric: row.lower_is_better for row in rows}["latency p95"] is True
    assert capacity(load(3, 700)).throughput_rps.value == 3
