"""What was measured near a case moves what is predicted of it, as much as it is near and no further."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.fit import FILES, left_of
from benchmarks.holdout import KEYS, SAME, Fold, Joint, Miss, misses
from benchmarks.neighbours import lags, weigh
from benchmarks.rows import Row, load
from planners.catalog import find_hardware, find_model
from planners.performance.calibration import calibration
from planners.performance.forecast import Sources, forecast
from planners.performance.nearby import Neighbours, likeness, neighbours
from planners.performance.places import Places, Speed, named
from planners.performance.published import Condition, Metric, Regime
from planners.tables import table

SLOWER = 0.2
NAMES = ("engine", "variant", "model", "accelerator", "weight_format", "regime", "percentile", "speed")


def at(**changes: object) -> Condition:
    """A server under eight open requests, with some of its conditions changed."""
    base = Condition(
        model=find_model("Qwen3-32B"),
        accelerator=find_hardware("H100-SXM")[0].accelerator,
        engine="vllm",
        weight_format="BF16",
        kv_format="FP16",
        count=1,
        tp=1,
        pp=1,
        replicas=1,
        threads=0,
        length=1024.0,
        output=256.0,
        beams=1,
        batch=8.0,
        regime=Regime.LOOP,
        metric=Metric.TPOT,
        tail=False,
        per_device=False,
        limit_ttft=0.0,
        limit_tpot=0.0,
    )
    return replace(base, **changes)


def measured(*cases: Condition, lag: float = SLOWER) -> Neighbours:
    """A process that saw every one of `cases` slower by `lag` than expected."""
    return weigh(Places.of(list(cases)), np.full(len(cases), lag))


def lag(seen: Neighbours, case: Condition) -> float:
    """What it says of a case."""
    return float(seen.hear(Places.of([case])).lag[0])


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Every measured row."""
    return load(*FILES)


def test_what_was_measured_is_believed_where_it_was_measured() -> None:
    """Most of the lag at the very place, less with other loads, nothing in another engine or far away."""
    seen = measured(at())
    here, near, far = (lag(seen, at(batch=requests)) for requests in (8.0, 32.0, 4096.0))
    assert 0.85 * SLOWER < here <= SLOWER
    assert 0.3 * SLOWER < near < here
    assert far < 0.1 * SLOWER
    assert lag(seen, at(engine="sglang")) == 0.0


def test_a_model_elsewhere_says_a_little_and_other_speeds_nothing() -> None:
    """One of model and accelerator says less than both; a time per token says nothing of first tokens."""
    seen = measured(at())
    elsewhere = at(accelerator=find_hardware("A100-SXM-80GB")[0].accelerator)
    nobody = replace(elsewhere, model=find_model("llama-3.1-8b"))
    sibling = at(accelerator=find_hardware("H200-SXM")[0].accelerator)
    assert 0.0 < lag(seen, elsewhere) < 0.3 * lag(seen, at())
    assert 1.5 * lag(seen, elsewhere) < lag(seen, sibling) < lag(seen, at())
    assert lag(seen, nobody) == 0.0
    assert lag(seen, at(metric=Metric.TTFT)) == 0.0


def test_a_slow_step_slows_the_rate_of_the_same_load_but_not_of_a_queue() -> None:
    """Cousins tell of each other where the load is the row's own."""
    seen = measured(at())
    rate = at(metric=Metric.OUTPUT)
    assert 0.5 * SLOWER < lag(seen, rate) < lag(seen, at())
    assert lag(seen, replace(rate, regime=Regime.QUEUED, batch=8.0)) < 0.3 * lag(seen, rate)


def test_a_fine_tune_hears_its_base() -> None:
    """Models of one shape are one to a clock, whatever they are called."""
    seen = measured(at(model=find_model("Llama-3.1-70B")))
    known = lag(seen, at(model=find_model("Llama-3.1-70B")))
    assert lag(seen, at(model=find_model("DeepSeek-R1-Distill-Llama-70B"))) == known > 0.0


def test_first_tokens_of_closed_loops_say_nothing_of_tuned_servers() -> None:
    """What queues before a server at a suite's limits is another thing."""
    loaded = at(metric=Metric.TTFT)
    assert lag(measured(loaded), loaded) > 0.0
    assert lag(measured(loaded), replace(loaded, regime=Regime.POISSON)) == 0.0


def test_likeness_is_a_covariance(rows: list[Row]) -> None:
    """No weights of any measured places have a negative variance: no eigenvalue lies below zero."""
    for engine in ("vllm", "sglang"):
        places = Places.of([row.case for row in rows if row.case.engine.partition("/")[0] == engine])
        covariance, _ = likeness(places, places)
        assert np.linalg.eigvalsh(covariance).min() > -1e-9


def test_one_slow_submitter_does_not_speak_for_the_others() -> None:
    """Nine of ten alike, the tenth half as fast: what is heard is what the nine say."""
    seen = weigh(Places.of([at()] * 10), np.array([0.0] * 9 + [0.7]))
    assert abs(lag(seen, at())) < 0.03


def test_layouts_hear_what_cases_hear() -> None:
    """The quick way over many layouts and batches says the same as the plain one, row by row."""
    shipped = neighbours()
    cases = [at(tp=tp, weight_format=weight) for tp in (1, 2) for weight in ("BF16", "FP8")]
    opened = np.array([1.0, 8.0, 64.0])
    around = shipped.hear_around(Places.of(cases), opened, (Speed.STEP, Speed.RATE))
    for metric, speed in ((Metric.TPOT, Speed.STEP), (Metric.OUTPUT, Speed.RATE)):
        for column, requests in enumerate(opened.tolist()):
            plain = shipped.hear(Places.of([replace(case, batch=requests, metric=metric) for case in cases]))
            np.testing.assert_allclose(around[speed].lag[:, column], plain.lag, atol=1e-12)
            np.testing.assert_allclose(around[speed].company[:, column], plain.company, atol=1e-12)


def test_published_rows_are_predicted_nearer_than_by_the_physics(rows: list[Row]) -> None:
    """What ships knows the rows it was made of: its median error is less than half the physics'."""
    physics = left_of(rows, None, calibration())
    values = [estimate.value for estimate in forecast([row.case for row in rows], Sources(silicon=False))]
    left = np.log(np.array(values) / [row.value for row in rows])
    assert np.median(np.abs(left)) < 0.5 * np.median(np.abs(physics))


def test_intervals_are_narrower_among_neighbours(rows: list[Row]) -> None:
    """A closed loop's interval is narrower than that of the same model and accelerator under a load far from all."""
    loops = (row for row in rows if row.case.engine == "vllm" and row.case.regime is Regime.LOOP)
    row = next(row for row in loops if row.case.metric is Metric.TPOT)
    near, far = forecast([row.case, replace(row.case, batch=1.0, length=100_000.0)], Sources(silicon=False))
    assert near.high / near.low < far.high / far.low


def test_neighbours_narrow_a_tuned_load_less_than_one_that_was_chosen() -> None:
    """What a row's own load took is foreseeable beside others; what a suite's limits let a vendor reach hardly is."""
    known = calibration()
    chosen, tuned, other = (
        known.deviation("tpot", "tensorrt-llm", [], 0.9, regime) for regime in ("loop", "poisson", "none such")
    )
    assert chosen <= other < tuned <= known.deviation("tpot", "tensorrt-llm", [])
    assert other == known.deviation("tpot", "tensorrt-llm", [], 0.9)


def test_a_held_out_row_is_not_its_own_neighbour(rows: list[Row]) -> None:
    """What is left of a row with nobody near is what the fit left of it, whatever was measured there."""
    two = [row for row in rows if row.case.engine == "vllm"][:1] + [row for row in rows if row.source == "neuron"][:1]
    errors = np.array([0.3, -0.2])
    fold = Fold(np.array([0]), errors, calibration())
    assert [(miss.error, miss.alone, miss.company) for miss in misses(two, [fold])] == [(0.3, 0.3, 0.0)]
    assert lags(two, errors)[0] == (-0.3 if two[0].case.metric in {Metric.TTFT, Metric.TPOT} else 0.3)


def test_kernels_count_less_in_company(rows: list[Row]) -> None:
    """Where nobody is near by their share, beside rows of the same pair not at all; neighbours are heard in both."""
    row = next(row for row in rows if row.kind == "tpot")
    heard = Miss(row, error=0.1, alone=0.2, new=[], company=0.0)
    joint = Joint(
        np.arange(2), [Fold(np.arange(2), np.full(2, 0.4), calibration())], [heard, replace(heard, company=1.0)]
    )
    found = joint.misses({"tpot": 0.5})
    assert [(round(miss.error, 9), round(miss.alone, 9)) for miss in found] == [(0.2, 0.3), (0.1, 0.3)]
    assert joint.shares() == {"tpot": 0.0}


def test_runs_of_the_same_conditions_are_held_out_together(rows: list[Row]) -> None:
    """A run's TTFT, TPOT and rate fall into one fold, so that none gives another away."""
    case = at()
    own = [Row(metric.value, replace(case, metric=metric), 1.0, "somebody") for metric in (Metric.TTFT, Metric.TPOT)]
    assert len({KEYS[SAME](row) for row in own}) == 1
    assert len({KEYS["pair"](row) for row in rows}) < len({KEYS[SAME](row) for row in rows})


def test_the_shipped_places_are_those_of_the_published_rows(rows: list[Row]) -> None:
    """Neither a row that has gone nor one that came after the fit."""
    shipped = {tuple(row[name] for name in NAMES) for row in table("neighbours")}
    assert shipped == {tuple(getattr(named(row.case), name) for name in NAMES) for row in rows}
