"""Shares of requests held against limits: by the gate's own sequence, never sure of a few samples, false no oftener."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.deploy.verdict import FIRST_LOOK, SLOW, Limits, breach, effect, interval, judge
from schemas.command import VersusSpec
from schemas.deployment import JudgedMetric
from schemas.measurement import GateVerdict
from schemas.traffic import RequestSeen

LIMITS = Limits(latency_ms=100, max_errors=0.01, confidence=0.95, tuned=20)


def seen(ms: float, status: int = 200, end: str = "--") -> RequestSeen:
    """One request as the gateway logs it."""
    return RequestSeen(
        at_s=0, slot="green", server="green-1", status=status, queue_ms=0, first_ms=ms, total_ms=ms, bytes=1, end=end
    )


def test_nothing_is_judged_before_the_first_look() -> None:
    """Four slow requests may be chance; five that are all slow are not."""
    assert judge([seen(500)] * (FIRST_LOOK - 1), LIMITS) == ()
    found = breach(judge([seen(500)] * FIRST_LOOK, LIMITS))
    assert found is not None
    assert found.metric is JudgedMetric.LATENCY
    assert "5 of 5 requests took longer than 100 ms" in found.sentence


def test_a_few_good_requests_prove_nothing() -> None:
    """Ten of ten in time say `undecided`; a thousand say `passed`."""
    few, many = judge([seen(50)] * 10, LIMITS), judge([seen(50)] * 1000, LIMITS)
    assert {item.verdict for item in few} == {GateVerdict.UNDECIDED}
    assert many[0].verdict is GateVerdict.PASSED


def test_failures_are_the_services_own() -> None:
    """5xx, refusals and broken answers count; what the client broke off or asked wrongly does not."""
    failed = [seen(1, 500), seen(1, 429), seen(1, 200, "SD"), seen(1, -1, "sH")]
    fine = [seen(1, 200), seen(1, 400), seen(1, 200, "CD")]
    assert [row.failed for row in (*failed, *fine)] == [True] * 4 + [False] * 3


def test_a_comparison_tells_faster_from_no_difference_and_from_too_little() -> None:
    """A fifth faster is faster, the same is not, and ten requests decide nothing; the interval is in the sentence."""
    random = np.random.default_rng(3)
    spec = VersusSpec(min_effect=0.05)

    def arm(ms: float, count: int) -> list[RequestSeen]:
        return [seen(ms * float(noise)) for noise in random.lognormal(0, 0.2, count)]

    found = [
        effect(arm(200, count), arm(ms, count), spec, LIMITS) for ms, count in ((150, 1000), (200, 1000), (150, 8))
    ]
    assert [item.verdict for item in found if item] == [GateVerdict.PASSED, GateVerdict.FAILED, GateVerdict.UNDECIDED]
    assert found[0]
    assert -0.3 < found[0].measured.low < -0.25 < found[0].measured.high < -0.2
    assert "faster, where 5.0% matter" in found[0].sentence
    assert effect(arm(200, 3), arm(200, 3), spec, LIMITS) is None


@given(share=st.floats(0.0, 1.0), count=st.integers(2, 200))
def test_intervals_are_intervals(share: float, count: int) -> None:
    """Within 0 and 1, around the mean."""
    samples = [float(number < share * count) for number in range(count)]
    mean, low, high = interval(samples, SLOW, 0.95, 20)
    assert 0 <= low <= mean <= high <= 1


@pytest.mark.parametrize("true_share", [0.02, 0.05])
def test_a_release_within_its_limit_is_hardly_ever_taken_back(true_share: float) -> None:
    """Looked at after every request, at most 5 of 100 rollouts of 300 requests see a breach that is none."""
    random = np.random.default_rng(7)
    wrong = 0
    for _ in range(100):
        samples = (random.random(300) < true_share).astype(float)
        looks = (interval(samples[:size].tolist(), SLOW, 0.95, 20)[1] for size in range(FIRST_LOOK, 300, 5))
        wrong += any(low > SLOW for low in looks)
    assert wrong <= 5
