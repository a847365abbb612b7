"""What a request says under names that nobody reads."""

from planners.left_out import MOST, NAME, left_out
from schemas.command import OptimizeInference


def lines(**parts: dict[str, object]) -> list[str]:
    """What the plan says of it, a line each."""
    request = OptimizeInference.model_validate({"cmd": "OPTIMIZE_INFERENCE", "model": "llama-3-8b", **parts})
    return [f"{item.name}: {item.value} ({item.why})" for item in left_out(request)]


def test_a_misspelt_limit_is_told_with_the_name_that_it_may_stand_for() -> None:
    """Keys are kept for the vocabulary's next version; that one of them does nothing today is said."""
    assert lines(constraints={"provider": "lambda", "budget_monthly": 5000}, targets={"uptime": "99.9%"}) == [
        "targets.uptime: left out (no such key is known)",
        "constraints.provider: left out (no such key is known; providers is)",
    ]


def test_what_is_known_is_not_told() -> None:
    """A request of known keys has no such line."""
    assert lines(targets={"latency_p95": 500}, workload={"input_tokens": 100}) == []


def test_hundreds_of_keys_make_no_hundreds_of_lines() -> None:
    """Nor is a long one shown whole."""
    found = lines(targets={"x" * 1000 + str(number): 1 for number in range(500)})
    assert len(found) == MOST
    assert max(map(len, found)) < 2 * NAME
