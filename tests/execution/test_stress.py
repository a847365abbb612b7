"""A stress test raises the rate until the times asked for break, and says at which rate and by what."""

import pytest
from closing.records import level

from executors.measure.stress import ATTAINED, FIRST_RPS, MOST, STEP, knee_of, rising
from schemas.measurement import Arrivals, LoadLevel, Sla

SLA = Sla(latency_ms=500, ttft_ms=100)


def at(rate: float, p50: float = 100, *, errors: int = 0, attained: float = 1.0) -> LoadLevel:
    """Poisson arrivals; p95 is twice the median, TTFT a quarter of it."""
    return level(Arrivals.POISSON, rate, rate, p50, errors).model_copy(update={"attained": attained})


def test_the_rate_rises_until_something_breaks() -> None:
    """Each level is a quarter above the one before; the first that breaks is the last, and there is an end anyway."""
    more = rising(SLA, requests=20, limit_s=10)
    levels: list[LoadLevel] = []
    while (wanted := more(levels)) is not None:
        levels.append(at(wanted.setting))
    assert [one.setting for one in levels] == pytest.approx([FIRST_RPS * STEP**number for number in range(MOST)])
    assert more([at(1), at(2, attained=ATTAINED - 0.1)]) is None


@pytest.mark.parametrize(
    ("last", "why"),
    [
        (at(3, 300, attained=0.5), "TTFT p95 of 150 ms against 100 ms, latency p95 of 600 ms against 500 ms"),
        (at(3, 260, attained=0.9), "TTFT p95 of 130 ms against 100 ms, latency p95 of 520 ms against 500 ms"),
        (at(3, errors=2), "2 of 20 requests failed or timed out"),
        (at(3, 90, attained=0.9), "only 90% of 20 requests kept to all of it"),
    ],
)
def test_the_knee_says_what_broke(last: LoadLevel, why: str) -> None:
    """Between the last rate that held and the first that did not; the reason has figure and limit."""
    knee = knee_of([level(Arrivals.CONCURRENCY, 4, 9, 9e9), at(1), at(2), last], SLA)
    assert (knee.held, knee.broke, knee.why) == (2, 3, why)


def test_what_never_broke_or_never_held_is_said() -> None:
    """No rate is made up on either side."""
    held, broke = knee_of([at(1), at(2)], SLA), knee_of([at(1, attained=0.1)], SLA)
    assert (held.held, held.broke, held.why) == (2, None, "nothing broke")
    assert (broke.held, broke.broke) == (None, 1)
