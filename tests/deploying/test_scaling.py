"""Traces in, replicas out: quick up, slow down, no swinging, within its limits."""

import itertools
import math
from collections.abc import Callable, Iterable

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planners.scaling import decide, most_replicas
from schemas.scaling import Load, ScalingRule, ScalingState

SLOTS = 4
RULE = ScalingRule(most=6, ready_s=5, up_cooldown_s=5, down_hold_s=30)
SERVICE_S = 1.0


def follow(rate: Callable[[float], float], seconds: int, rule: ScalingRule = RULE) -> list[int]:
    """Replicas second by second, of a queue that is served at `slots / SERVICE_S` a replica."""
    state, queue, history = ScalingState(replicas=1), 0.0, []
    for at in range(seconds):
        capacity = state.replicas * SLOTS
        present = queue + rate(at) * SERVICE_S
        served = min(present, capacity)
        queue = present - served
        load = Load(at_s=at, queued=math.floor(queue), open_requests=math.ceil(served), slots=SLOTS)
        state = decide(load, state, rule).state
        history.append(state.replicas)
    return history


def changes(history: Iterable[int]) -> int:
    """How often the number changed."""
    return int(np.count_nonzero(np.diff(list(history))))


def test_a_spike_is_met_within_seconds_and_let_go_slowly() -> None:
    """Ten times the load: enough replicas within 10 s, and back to one, one at a time, after it."""
    history = follow(lambda at: 15 if 20 <= at < 60 else 1.5, 400)
    assert max(history[:20]) == 1
    assert max(history[20:30]) >= 5
    assert history[-1] == 1
    downs = [after - before for before, after in itertools.pairwise(history) if after < before]
    assert set(downs) == {-1}


def test_a_steady_load_changes_nothing() -> None:
    """At any level: no more than the way there."""
    for rate in (0.5, 3.0, 6.0, 12.0):
        assert changes(follow(lambda _, rate=rate: rate, 600)[60:]) == 0


def test_a_wave_is_not_followed_up_and_down() -> None:
    """A load that swings every 20 s, faster than replicas may leave, gets the replicas of its crest and keeps them."""
    history = follow(lambda at: 6 + 4 * math.sin(at / 20 * 2 * math.pi), 600)
    assert changes(history[60:]) == 0


def test_a_replica_that_is_missed_is_kept_longer_the_next_time() -> None:
    """Two look calm under a load that one cannot bear: it is let go a few times in twenty minutes, not every half."""
    state, queue, history, two = ScalingState(replicas=1), 0, [], RULE.model_copy(update={"most": 2})
    for at in range(1200):
        alone = state.replicas == 1
        queue = min(20, queue + 2) if alone else 0
        state = decide(Load(at_s=at, queued=queue, open_requests=4 if alone else 1, slots=SLOTS), state, two).state
        history.append(state.replicas)
    assert 4 <= changes(history) <= 10


def test_noise_does_not_swing_it() -> None:
    """Poisson arrivals around a steady mean: at most a few changes in ten minutes."""
    random = np.random.default_rng(1)
    draws = random.poisson(5, 600)
    assert changes(follow(lambda at: float(draws[int(at)]), 600)) <= 6


def test_a_rising_load_is_seen_coming() -> None:
    """With a trend the second replica comes before anybody waits."""
    rule = RULE.model_copy(update={"ready_s": 10})
    state, first = ScalingState(replicas=1), None
    for at in range(60):
        rate = 0.06 * at
        load = Load(at_s=at, queued=0, open_requests=round(rate), slots=SLOTS)
        state = decide(load, state, rule).state
        if first is None and state.replicas > 1:
            first = load
    assert first is not None
    assert first.queued == 0
    assert first.open_requests < SLOTS


def test_one_look_changes_nothing() -> None:
    """Twenty requests that are gone at the next look are no reason to start anything."""
    state = ScalingState(replicas=1)
    for at in range(60):
        load = Load(at_s=at, queued=20 if at == 30 else 0, open_requests=1, slots=SLOTS)
        state = decide(load, state, RULE).state
        assert state.replicas == 1


RULES = st.builds(
    ScalingRule,
    most=st.integers(1, 8),
    target=st.floats(0.6, 0.9),
    low=st.floats(0.2, 0.55),
    ready_s=st.floats(0, 30),
    smooth_s=st.floats(1, 10),
    trend_s=st.floats(5, 30),
    up_looks=st.integers(1, 5),
    up_cooldown_s=st.floats(0, 20),
    down_hold_s=st.floats(10, 60),
)


@given(rate=st.floats(0, 40), rule=RULES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_constant_load_never_oscillates(rate: float, rule: ScalingRule) -> None:
    """By any rule: replicas go up to what it takes, perhaps down from it, and never up again; then they stay."""
    history = follow(lambda _: rate, 1000, rule)
    steps = [after - before for before, after in itertools.pairwise(history) if after != before]
    assert steps == sorted(steps, key=lambda step: step < 0)
    assert changes(history[-100:]) == 0


@given(
    looks=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 32)), min_size=1, max_size=60),
    budget=st.floats(300, 5000),
    rule=RULES,
    running=st.integers(1, 8),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_load_leads_beyond_the_budget(
    looks: list[tuple[int, int]], budget: float, rule: ScalingRule, running: int
) -> None:
    """Whatever is seen and whatever ran before: after every look the replicas cost no more than the budget a month."""
    bounded = rule.model_copy(update={"most": most_replicas(budget, 300, rule.most)})
    state = ScalingState(replicas=running)
    for at, (queued, open_requests) in enumerate(looks):
        decision = decide(Load(at_s=at, queued=queued, open_requests=open_requests, slots=SLOTS), state, bounded)
        state = decision.state
        assert decision.replicas == state.replicas
        assert 1 <= decision.replicas <= rule.most
        assert decision.replicas * 300 <= budget


def test_the_budget_is_the_limit() -> None:
    """No more than is paid for, however long the queue; one at the least."""
    assert max(follow(lambda _: 1000.0, 60)) == RULE.most
    assert most_replicas(1000, 300, 8) == 3
    assert most_replicas(100, 300, 8) == 1
    assert most_replicas(None, 300, 8) == 8
