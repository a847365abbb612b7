"""What measuring taught the plan: the first plan's error beside that of the plan a trial was taken from."""

import math

import pytest
from closing.records import candidate, guessed, trial

from handlers.optimization.finish import learned
from handlers.optimization.trial import compare_load
from schemas.plan import Candidate
from schemas.report import Trial


def predicting(rps: float) -> Candidate:
    """Q8_0, of which so many requests a second are predicted."""
    plain = candidate("Q8_0")
    return plain.model_copy(update={"prediction": plain.prediction.model_copy(update={"throughput_rps": guessed(rps)})})


def tried(predicted: float, measured: float) -> Trial:
    """A trial of it, taken from a plan that predicted one rate, and measured as another."""
    done = trial("Q8_0", measured)
    assert done.load is not None
    said = predicting(predicted)
    return done.model_copy(update={"candidate": said, "comparisons": compare_load(said, done.load)})


def test_the_corrected_plan_is_held_against_the_first_one() -> None:
    """Four requests a second were predicted at first, 2.2 after the baseline was measured, and 2 came out."""
    rates = [item for item in learned((predicting(4),), (tried(2.2, 2),)) if item.metric == "throughput_rps"]
    (rate,) = rates
    assert (rate.first.value, rate.corrected.value, rate.measured.value) == (4, 2.2, 2)
    assert rate.error_first == pytest.approx(math.log(2))
    assert rate.error_corrected == pytest.approx(math.log(1.1))


def test_what_the_first_plan_did_not_name_is_not_held_against_it() -> None:
    """Nor is a trial that was never loaded."""
    assert list(learned((), (tried(2.2, 2),))) == []
    assert list(learned((candidate("Q4_0"),), (trial("Q4_0", None),))) == []


def test_what_nothing_was_learned_about_is_not_shown() -> None:
    """A trial of which the first plan said the same: its errors are among the predictions, and teach nothing."""
    assert [item.metric for item in learned((predicting(4),), (tried(4, 2),))] == []
