"""The gate's rule, on made-up blocks whose true loss is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from executors.measure.gate import Block, GateRule, Look, confidence_sequence, decide
from schemas.measurement import GateVerdict

TOKENS = 32
PER_CHUNK = 8
ALPHA = 0.05


def blocks(differences: NDArray[np.float64]) -> list[Block]:
    """Blocks whose mean differences of nll per token are these."""
    return [
        Block(
            chunk=index // PER_CHUNK,
            tokens=TOKENS,
            nll_baseline=3.0 * TOKENS,
            nll_candidate=(3.0 + float(difference)) * TOKENS,
            kl=abs(float(difference)),
            top1=TOKENS - 1,
        )
        for index, difference in enumerate(differences)
    ]


def look(differences: NDArray[np.float64], limit: float) -> Look:
    """What the gate says of blocks with these differences."""
    found = decide("candidate", blocks(differences), GateRule(limit=limit), "text")
    assert found is not None
    return found


def noise(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Skewed noise of mean 0 that blocks of one chunk partly share, as real differences do."""
    own = generator.gamma(2.0, 0.015, count) - 0.03
    shared = np.repeat(generator.gamma(2.0, 0.007, -(-count // PER_CHUNK)) - 0.014, PER_CHUNK)[:count]
    return own + shared


def outcome(differences: NDArray[np.float64], rule: GateRule) -> GateVerdict:
    """The verdict when the gate looks after every block and stops at the first decision."""
    groups = np.arange(differences.size) // PER_CHUNK
    limit = math.log1p(rule.limit)
    for count in range(rule.min_blocks, differences.size + 1):
        interval = confidence_sequence(differences[:count], 1 - rule.confidence, rule.tuned_blocks, groups[:count])
        if interval.high <= limit:
            return GateVerdict.PASSED
        if interval.low > limit:
            return GateVerdict.FAILED
    return GateVerdict.UNDECIDED


@pytest.mark.parametrize("sign", [1, -1])
def test_looking_after_every_block_does_not_raise_the_false_verdicts(sign: int) -> None:
    """At a true loss exactly at the limit, false verdicts of either kind stay within alpha."""
    rule = GateRule(limit=0.02)
    generator = np.random.default_rng(5)
    runs = 200
    found = [outcome(math.log1p(rule.limit) + sign * noise(generator, 240), rule) for _ in range(runs)]
    assert found.count(GateVerdict.PASSED) / runs <= ALPHA
    assert found.count(GateVerdict.FAILED) / runs <= ALPHA


@pytest.mark.parametrize(("loss", "expected"), [(0.0, GateVerdict.PASSED), (0.05, GateVerdict.FAILED)])
def test_clear_cases_are_decided(loss: float, expected: GateVerdict) -> None:
    """A loss well on one side of the limit gets its verdict within the bound, nearly always."""
    rule = GateRule(limit=0.02)
    generator = np.random.default_rng(6)
    found = [outcome(math.log1p(loss) + noise(generator, 512), rule) for _ in range(50)]
    assert found.count(expected) >= 48


@given(
    differences=st.lists(st.floats(-0.5, 0.5), min_size=32, max_size=80),
    limit=st.floats(0, 0.2),
)
def test_only_an_interval_within_the_limit_passes(differences: list[float], limit: float) -> None:
    """Passed means the upper end is within the limit, failed that the lower end is beyond it, else undecided."""
    decision = look(np.array(differences), limit).decision
    quality = decision.quality
    assert quality.loss_low <= quality.loss <= quality.loss_high
    assert (decision.verdict is GateVerdict.PASSED) == (quality.loss_high <= limit)
    assert (decision.verdict is GateVerdict.FAILED) == (quality.loss_low > limit)


def test_no_look_before_the_first_is_allowed() -> None:
    """A lucky start decides nothing."""
    assert decide("candidate", blocks(np.zeros(31)), GateRule(limit=0.02), "text") is None


def test_a_sentence_says_what_was_seen() -> None:
    """The decision's sentence has the tokens, the loss, its interval and the limit."""
    steady = blocks(np.resize([0.09, 0.11], 40))
    found = decide("Q2_K", steady, GateRule(limit=0.02), "text")
    assert found is not None
    decision = found.decision
    assert decision.sentence.startswith(
        "Q2_K fails the gate of 2.00%: over 1,280 tokens its perplexity differs by +10.5"
    )
    assert "95% interval" in decision.sentence


def test_blocks_that_agree_within_chunks_widen_the_interval() -> None:
    """Eight blocks that say the same are not eight observations."""
    generator = np.random.default_rng(7)
    copied = np.repeat(generator.normal(0, 0.05, 12), PER_CHUNK)
    together = confidence_sequence(copied, ALPHA, 64, np.arange(96) // PER_CHUNK)
    apart = confidence_sequence(generator.permutation(copied), ALPHA, 64, np.arange(96) // PER_CHUNK)
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_a_sound_quality_at_the_limit_passes() -> None:
    """The limit itself is within the limit."""
    assert look(np.zeros(40), 0.0).decision.verdict is GateVerdict.PASSED


def test_a_loss_too_near_the_limit_is_given_up_early() -> None:
    """Where the bound would hardly pass it, the gate stops and says so; good ones go on."""
    generator = np.random.default_rng(8)
    near = look(0.026 + generator.normal(0, 0.056, 72), 0.02)
    assert near.decision.verdict is GateVerdict.UNDECIDED
    assert near.settled
    assert near.decision.sentence.endswith("Going on to 16,384 tokens would hardly have passed it.")
    good = [look(0.008 + generator.normal(0, 0.03, count), 0.02) for count in (64, 72, 80) for _ in range(20)]
    assert not any(found.settled and found.decision.verdict is GateVerdict.UNDECIDED for found in good)
