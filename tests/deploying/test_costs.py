"""What each sender's requests cost, and how fast an error budget burns: shares that add up to what was paid."""

import json
from pathlib import Path, PurePosixPath

import pytest
from closing.records import candidate
from hypothesis import given
from hypothesis import strategies as st

from executors.deploy.costs import ERROR_BUDGET, OTHER, SHOWN, Price, burn, costs, price_of
from schemas.deployment import Release, Replica, Slot
from schemas.evidence import Estimate, Evidence
from schemas.traffic import RequestSeen

MONTHLY = Estimate(value=730.0, low=700.0, high=760.0, unit="USD", evidence=Evidence.ASSUMED, source="list price")
RELEASE = Release(
    number=2,
    slot=Slot.GREEN,
    strategy=candidate("Q8_0").strategy,
    weights=PurePosixPath("w"),
    reference=PurePosixPath("r"),
    replicas=(Replica(name="green-1", port=9001),),
    job="job-a",
    since_s=10.0,
)


def seen(
    sender: str, ms: float, *, queue_ms: float = 0, at_s: float = 11, slot: str = "green", status: int = 200
) -> RequestSeen:
    """One request as the gateway logs it."""
    return RequestSeen(
        at_s=at_s,
        slot=slot,
        server="green-1",
        status=status,
        queue_ms=queue_ms,
        first_ms=1,
        total_ms=ms,
        bytes=1,
        end="--",
        sender=sender,
    )


def test_long_answers_are_dearer() -> None:
    """One dollar an hour: who had three quarters of the slots' time pays three quarters of it; waiting is free."""
    rows = [seen("long", 3000), seen("short", 1500, queue_ms=1000), seen("short", 500)]
    long, short = costs(rows, RELEASE, Price(monthly=MONTHLY), 3600)
    assert (long.sender, long.requests, long.busy_s) == ("long", 1, 3.0)
    assert (short.sender, short.requests, short.busy_s) == ("short", 2, 1.0)
    assert long.usd_per_1k
    assert short.usd_per_1k
    assert long.usd_per_1k.value == pytest.approx(750)
    assert short.usd_per_1k.value == pytest.approx(125)
    assert long.usd_per_1k.low / long.usd_per_1k.value == pytest.approx(700 / 730)
    assert long.usd_per_1k.evidence is Evidence.ASSUMED


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(1, 1e5)), min_size=1, max_size=200), st.integers(1, 4))
def test_shares_add_up_to_what_was_paid(requests: list[tuple[int, float]], replicas: int) -> None:
    """Over all senders of a window, however many: the price of the replicas that run; no sender is lost."""
    running = tuple(Replica(name=f"green-{at}", port=9001 + at) for at in range(replicas))
    release = RELEASE.model_copy(update={"replicas": running})
    rows = [seen(f"s{sender}", ms) for sender, ms in requests]
    found = costs(rows, release, Price(monthly=MONTHLY), 1800)
    paid = sum(one.usd_per_1k.value * one.requests / 1000 for one in found if one.usd_per_1k)
    assert paid == pytest.approx(0.5 * replicas)
    assert sum(one.requests for one in found) == len(rows)
    assert len(found) <= SHOWN + 1
    assert (len({sender for sender, _ in requests}) > SHOWN) == (OTHER in {one.sender for one in found})


def test_without_a_price_no_dollar_is_claimed(tmp_path: Path) -> None:
    """Requests and seconds are measured all the same; a job without a report, or without a price, has none."""
    assert price_of(tmp_path, "job-a") == price_of(tmp_path, "") == Price()
    (tmp_path / "job-a").mkdir()
    (tmp_path / "job-a" / "report.json").write_text(json.dumps({"cost": {"monthly": None}, "else": 1}))
    (one,) = costs([seen("a", 100)], RELEASE, price_of(tmp_path, "job-a"), 3600)
    assert (one.usd_per_1k, one.busy_s) == (None, 0.1)


def test_what_never_reached_an_engine_takes_no_time() -> None:
    """Refused in the queue: counted, and free."""
    refused = seen("a", 30_000, queue_ms=30_000, status=503).model_copy(update={"first_ms": -1.0})
    (one,) = costs([refused], RELEASE, Price(monthly=MONTHLY), 3600)
    assert (one.requests, one.busy_s, one.usd_per_1k) == (1, 0.0, None)


def test_a_budget_burns_by_what_failed_or_was_slow() -> None:
    """At twice the budget's share the rate is two; without requests nothing burns."""
    rows = [seen("a", 100)] * 98 + [seen("a", 100, status=500), seen("a", 900)]
    assert burn(rows, RELEASE, 500, 300).rate == pytest.approx(0.02 / ERROR_BUDGET)
    assert burn(rows, RELEASE, None, 300).bad == 1
    assert burn([], RELEASE, 500, 300).rate == 0


def test_a_release_counts_its_own_requests() -> None:
    """Not those of its place before it came, nor of the other place."""
    rows = [seen("a", 1, at_s=9), seen("a", 1, at_s=10), seen("a", 1, slot="blue")]
    assert RELEASE.served(rows) == rows[1:2]
