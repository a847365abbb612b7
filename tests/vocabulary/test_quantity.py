"""The family's dialects of quantities become plain numbers in one unit, or an error that says what is understood."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.command import OptimizeInference
from schemas.quantity import Dimension, parse_quantity


@pytest.mark.parametrize(
    ("raw", "dimension", "value"),
    [
        (250, Dimension.LATENCY, 250),
        ("250", Dimension.LATENCY, 250),
        ("45ms", Dimension.LATENCY, 45),
        ("1.2 s", Dimension.LATENCY, 1200),
        ("800us", Dimension.LATENCY, 0.8),
        ("4.2m", Dimension.LATENCY, 252_000),
        ("10k_rps", Dimension.THROUGHPUT, 10_000),
        ("55 req/s", Dimension.THROUGHPUT, 55),
        ("90 rpm", Dimension.THROUGHPUT, 1.5),
        ("1.5k tok/s", Dimension.TOKEN_RATE, 1500),
        ("85 %", Dimension.FRACTION, 0.85),
        ("99.95%", Dimension.FRACTION, 0.9995),
        (0.02, Dimension.FRACTION, 0.02),
        ("$45200", Dimension.MONEY, 45_200),
        ("$45,200/month", Dimension.MONEY, 45_200),
        ("5k", Dimension.MONEY, 5_000),
        ("5000 USD", Dimension.MONEY, 5_000),
    ],
)
def test_dialects_are_one_number(raw: object, dimension: Dimension, value: float) -> None:
    """Numbers, numbers as text, units, decimal prefixes and signs of money."""
    assert parse_quantity(raw, dimension) == pytest.approx(value)


@pytest.mark.parametrize("raw", ["fast", "45 parsecs", "", None, True, [1], {"ms": 1}, "1e999x", "--5", "1" * 10_000])
def test_what_is_no_quantity_says_what_would_be(raw: object) -> None:
    """The error names the dimension and the units that are understood."""
    with pytest.raises(ValueError, match="expected milliseconds as a number or a number with one of: ms"):
        parse_quantity(raw, Dimension.LATENCY)


def test_an_error_names_the_field() -> None:
    """The sender learns which field was wrong."""
    with pytest.raises(ValidationError) as caught:
        OptimizeInference.model_validate(
            {"cmd": "OPTIMIZE_INFERENCE", "model": "m", "targets": {"latency_p95": "fast"}}
        )
    assert caught.value.errors()[0]["loc"] == ("targets", "latency_p95")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1])
def test_no_field_takes_what_is_not_a_quantity_of_the_world(value: float) -> None:
    """Neither NaN nor infinity nor a negative time is a target."""
    with pytest.raises(ValidationError):
        OptimizeInference.model_validate({"cmd": "OPTIMIZE_INFERENCE", "model": "m", "targets": {"latency_p95": value}})


@given(st.text(max_size=80), st.sampled_from(Dimension))
def test_any_text_is_a_number_or_a_value_error(text: str, dimension: Dimension) -> None:
    """Nothing a sender writes makes the parser fail in another way."""
    try:
        assert isinstance(parse_quantity(text, dimension), float)
    except ValueError as error:
        assert "expected" in str(error)  # noqa: PT017 - either outcome is right
