"""Measurements compose: each is held against what the planner says by itself, however many came before."""

import math

import pytest

from planners.corrections import NEAR_SHARE, Corrections
from schemas.plan import Strategy

Q8 = Strategy(engine="llama.cpp", weight_format="Q8_0", accelerator="host", max_sequences=4)
Q6 = Q8.model_copy(update={"weight_format": "Q6_K"})


def test_a_second_measurement_is_taken_from_a_prediction_that_the_first_has_moved() -> None:
    """The planner alone says 10; shifted by the neighbour it says 10 x sqrt(1/2); 4 is measured: 0.4 of the planner."""
    first = Corrections().with_measurement(Q8, "throughput_rps", 10.0, 5.0)
    shifted = 10.0 * math.exp(first.shift("llama.cpp", "host", "Q6_K", "throughput_rps").log_shift)
    assert shifted == pytest.approx(10.0 * 0.5**NEAR_SHARE)
    second = first.with_measurement(Q6, "throughput_rps", shifted, 4.0)
    assert second.shift("llama.cpp", "host", "Q6_K", "throughput_rps").log_shift == pytest.approx(math.log(0.4))


def test_measuring_again_replaces_the_older_measurement() -> None:
    """The plan shows 5 by then, as measured; 6 is 0.6 of what the planner says by itself."""
    twice = (
        Corrections().with_measurement(Q8, "throughput_rps", 10.0, 5.0).with_measurement(Q8, "throughput_rps", 5.0, 6.0)
    )
    assert len(twice.measurements) == 1
    assert twice.measurements[0].log_ratio == pytest.approx(math.log(0.6))


def test_other_engines_machines_and_metrics_are_left_alone() -> None:
    """A measurement says nothing about them."""
    found = Corrections().with_measurement(Q8, "throughput_rps", 10.0, 5.0)
    for engine, machine, metric in (("vllm", "host", "throughput_rps"), ("llama.cpp", "L4", "throughput_rps")):
        assert found.shift(engine, machine, "Q8_0", metric).log_shift == 0.0
    assert found.shift("llama.cpp", "host", "Q8_0", "tpot_ms").log_shift == 0.0


def test_a_measured_loss_may_be_negative_and_shifts_nothing() -> None:
    """Losses are replaced, not scaled."""
    found = Corrections().with_measurement(Q8, "quality_loss", 0.001, -0.002, low=-0.004, high=0.0)
    measured = found.quality("Q8_0", "FP16", importance_matrix=False)
    assert measured is not None
    assert (measured.measured, measured.log_ratio) == (-0.002, 0.0)
    assert found.quality("Q8_0", "Q8_0", importance_matrix=False) is None
