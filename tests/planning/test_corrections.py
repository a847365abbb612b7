"""Measurements compose: each is held against what the planner says by itself, however many came before."""

import math

import pytest
from planning.conftest import Answer
from planning.pairs import pair

from planners.corrections import NEAR_SHARE, Corrections
from schemas.correction import OperatingPoint
from schemas.plan import Candidate, Strategy

Q8 = Strategy(engine="llama.cpp", weight_format="Q8_0", accelerator="host", max_sequences=4)
AT = OperatingPoint(input_tokens=64, output_tokens=16, request_rate=2.0, concurrency=0)


Q6 = Q8.model_copy(update={"weight_format": "Q6_K"})


def test_a_second_measurement_is_taken_from_a_prediction_that_the_first_has_moved() -> None:
    """The planner alone says 10; shifted by the neighbour it says 10 x sqrt(1/2); 4 is measured: 0.4 of the planner."""
    first = Corrections().with_measurement(Q8, pair("throughput_rps", 10.0, 5.0), AT)
    shifted = 10.0 * math.exp(first.shift("llama.cpp", "host", "Q6_K", "throughput_rps").log_shift)
    assert shifted == pytest.approx(10.0 * 0.5**NEAR_SHARE)
    second = first.with_measurement(Q6, pair("throughput_rps", shifted, 4.0), AT)
    assert second.shift("llama.cpp", "host", "Q6_K", "throughput_rps").log_shift == pytest.approx(math.log(0.4))


def test_measuring_again_replaces_the_older_measurement() -> None:
    """The plan shows 5 by then, as measured; 6 is 0.6 of what the planner says by itself."""
    twice = (
        Corrections()
        .with_measurement(Q8, pair("throughput_rps", 10.0, 5.0), AT)
        .with_measurement(Q8, pair("throughput_rps", 5.0, 6.0), AT)
    )
    assert len(twice.measurements) == 1
    assert twice.measurements[0].log_ratio == pytest.approx(math.log(0.6))


def test_other_engines_machines_and_metrics_are_left_alone() -> None:
    """A measurement says nothing about them."""
    found = Corrections().with_measurement(Q8, pair("throughput_rps", 10.0, 5.0), AT)
    for engine, machine, metric in (("vllm", "host", "throughput_rps"), ("llama.cpp", "L4", "throughput_rps")):
        assert found.shift(engine, machine, "Q8_0", metric).log_shift == 0.0
    assert found.shift("llama.cpp", "host", "Q8_0", "tpot_ms").log_shift == 0.0


def test_a_measured_loss_may_be_negative_and_shifts_nothing() -> None:
    """Losses are replaced, not scaled."""
    found = Corrections().with_measurement(Q8, pair("quality_loss", 0.001, -0.002, 0.002), AT)
    measured = found.quality("llama.cpp", "Q8_0", "FP16", importance_matrix=False)
    assert measured is not None
    assert (measured.measured, measured.log_ratio) == (-0.002, 0.0)
    assert found.quality("llama.cpp", "Q8_0", "Q8_0", importance_matrix=False) is None


@pytest.mark.parametrize(
    ("measured", "planned", "holds"),
    [
        ("transformers", "vllm", True),
        ("transformers", "sglang", True),
        ("openvino", "openvino", True),
        ("openvino", "ctranslate2", False),
        ("onnxruntime", "openvino", False),
        ("gptqmodel", "openvino", False),
        ("openvino", "vllm", False),
    ],
)
def test_a_loss_holds_for_the_engines_that_load_what_was_measured(measured: str, planned: str, *, holds: bool) -> None:
    """Safetensors are read by many engines; INT8 of ONNX Runtime is not OpenVINO's."""
    strategy = Strategy(engine=measured, weight_format="INT8", accelerator="host")
    found = Corrections().with_measurement(strategy, pair("quality_loss", 0.01, 0.7), None)
    assert (found.quality(planned, "INT8", "FP16", importance_matrix=False) is not None) == holds


def test_a_figure_stands_only_for_the_traffic_it_was_measured_under() -> None:
    """Throughput at capacity holds at any rate with the same tokens; a latency only at its own rate."""
    busier = AT.model_copy(update={"request_rate": 5.0})
    longer = AT.model_copy(update={"input_tokens": 512})
    found = (
        Corrections()
        .with_measurement(Q8, pair("throughput_rps", 10.0, 5.0), AT)
        .with_measurement(Q8, pair("latency_p95_ms", 100.0, 150.0), AT)
    )
    assert found.exact(Q8, "throughput_rps", busier) is not None
    assert found.exact(Q8, "latency_p95_ms", busier) is None
    assert found.exact(Q8, "throughput_rps", longer) is None
    assert found.exact(Q8, "latency_p95_ms", AT) is not None


def test_the_next_plan_is_nearer(answer: Answer) -> None:
    """On a host at 0.6 of what the planner says, the baseline's measurement halves another format's error at least.

    Once that format is measured as well, there is hardly any error left.
    """
    request = {"model": "smollm2-135m", "constraints": {"hardware": "host", "max_quality_loss": 0.5}}
    first = answer(**request)
    point = OperatingPoint.of(first.workload)
    candidate = next(item for item in first.chosen if item.strategy.weight_format != "F16")

    def error(known: Corrections) -> float:
        """|ln(predicted / true)| of that candidate's throughput."""
        plan = answer(known, **request)
        again = next(item for item in (*plan.chosen, *plan.frontier) if item.strategy == candidate.strategy)
        return abs(math.log(again.prediction.throughput_rps.value / true(candidate)))

    def true(item: Candidate) -> float:
        return 0.6 * item.prediction.throughput_rps.value

    def measured(known: Corrections, item: Candidate, said: float) -> Corrections:
        return known.with_measurement(item.strategy, pair("throughput_rps", said, true(item)), point)

    untaught = error(Corrections())
    base = measured(Corrections(), first.baseline, first.baseline.prediction.throughput_rps.value)
    taught = error(base)
    assert untaught == pytest.approx(-math.log(0.6))
    assert taught <= untaught * (1 - NEAR_SHARE) + 1e-6
    said = math.exp(taught) * true(candidate)
    assert error(measured(base, candidate, said)) == pytest.approx(0, abs=1e-4)
