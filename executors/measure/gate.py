"""The quality gate: paired blocks of scores in; passed, failed or undecided out. Pure; the one rule, in one place.

The loss is exp(d) - 1, d the mean difference of negative log-likelihood per token, candidate minus baseline. Its
interval is an asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas: Time-uniform central limit
theory and asymptotic confidence sequences, arXiv:2103.06476, theorem 2.2): it holds at all sample sizes at once, so one
may look after every block and stop as soon as it is decided without raising the chance of a false verdict.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from executors.measure.statistics import student
from schemas.base import Record
from schemas.measurement import GateDecision, GateVerdict, PositionQuality, QualityMeasurement


class GateRule(Record):
    """What passes: the interval's upper end within `limit`, a relative rise of perplexity (0.02 is 2 %)."""

    limit: NonNegativeFloat
    confidence: float = 0.95
    """Of the interval, over all looks together."""
    min_blocks: PositiveInt = 32
    """Blocks before the first look: the sequence is asymptotic, and a variance of few chunks is no variance."""
    tuned_blocks: PositiveInt = 64
    """Sample size at which the interval is tightest; it holds at every other too."""
    max_tokens: PositiveInt = 16_384
    """Scored tokens after which the gate stays undecided."""


class Block(Record):
    """Consecutive scored tokens of one chunk: sums of nll in nats, mean divergence in nats, agreeing top choices."""

    event: Literal["block"] = "block"
    chunk: NonNegativeInt
    start: NonNegativeInt = 0
    """Its place in the chunk, in tokens."""
    tokens: PositiveInt
    nll_baseline: NonNegativeFloat
    nll_candidate: NonNegativeFloat
    kl: float
    kl_is_bound: bool = False
    """Whether only the candidate's likeliest tokens were told."""
    top1: NonNegativeInt


class Interval(NamedTuple):
    """A mean with its confidence interval and the deviation of one sample behind it, in the unit of the samples."""

    mean: float
    low: float
    high: float
    deviation: float


class Look(NamedTuple):
    """What the gate says after some blocks, and whether it is worth while to go on."""

    decision: GateDecision
    settled: bool


def confidence_sequence(samples: NDArray[np.float64], alpha: float, tuned: int, groups: NDArray[np.int64]) -> Interval:
    """Time-uniform interval, at level 1 - `alpha`, for the mean of `samples`, at their present number.

    Half-width: sd * sqrt(2 (t r2 + 1) / (t2 r2) * log(sqrt(t r2 + 1) / alpha)), t samples, with
    r2 = (-2 log(alpha) + log(1 - 2 log(alpha))) / `tuned` (theorem 2.2 and section 2.3 of arXiv:2103.06476).
    Samples of one group (blocks of one chunk) may depend on each other, so sd is the larger of the samples' own and the
    one that the sums over groups show (Liang and Zeger 1986), the latter widened by t over normal quantile for few
    groups (Cameron and Miller 2015, section VI).
    """
    count = samples.size
    mean = float(samples.mean())
    variance = max(float(samples.var(ddof=1)), _clustered_variance(samples - mean, groups, alpha))
    deviation = math.sqrt(variance)
    half = deviation * boundary(count, alpha, tuned)
    return Interval(mean, mean - half, mean + half, deviation)


def boundary(count: int, alpha: float, tuned: int) -> float:
    """Half-width of the confidence sequence after `count` samples of unit deviation."""
    rho2 = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / tuned
    spread = count * rho2 + 1
    return math.sqrt(2 * spread / (count**2 * rho2) * math.log(math.sqrt(spread) / alpha))


def _clustered_variance(residuals: NDArray[np.float64], groups: NDArray[np.int64], alpha: float) -> float:
    """Variance per sample that the sums over groups imply; infinite where there is only one group."""
    _, member = np.unique(groups, return_inverse=True)
    sums = np.bincount(member, weights=residuals)
    freedom = sums.size - 1
    if not freedom:  # one group says nothing about how groups differ
        return math.inf
    raw = float((sums**2).sum()) / residuals.size * sums.size / freedom
    return raw * (student(freedom, alpha) / NormalDist().inv_cdf(1 - alpha / 2)) ** 2


def differences(blocks: Sequence[Block], rule: GateRule) -> Interval:
    """The mean difference of nll per token, candidate minus baseline, in nats."""
    samples = np.array([(block.nll_candidate - block.nll_baseline) / block.tokens for block in blocks])
    return confidence_sequence(samples, 1 - rule.confidence, rule.tuned_blocks, _chunks(blocks))


def _chunks(blocks: Sequence[Block]) -> NDArray[np.int64]:
    return np.array([block.chunk for block in blocks])


def measure(blocks: Sequence[Block], rule: GateRule, text: str) -> QualityMeasurement:
    """What the blocks say, with time-uniform intervals. At least two chunks."""
    total = sum(block.tokens for block in blocks)
    delta = differences(blocks, rule)
    divergences = np.array([block.kl for block in blocks])
    kl = confidence_sequence(divergences, 1 - rule.confidence, rule.tuned_blocks, _chunks(blocks))
    return QualityMeasurement(
        tokens=total,
        baseline_perplexity=math.exp(sum(block.nll_baseline for block in blocks) / total),
        perplexity=math.exp(sum(block.nll_candidate for block in blocks) / total),
        loss=math.expm1(delta.mean),
        loss_low=math.expm1(delta.low),
        loss_high=math.expm1(delta.high),
        confidence=rule.confidence,
        kl=kl.mean,
        kl_low=max(0.0, kl.low),
        kl_high=kl.high,
        kl_is_bound=any(block.kl_is_bound for block in blocks),
        positions=positions(blocks),
        top1=sum(block.top1 for block in blocks) / total,
        text=text,
    )


def positions(blocks: Sequence[Block]) -> tuple[PositionQuality, ...]:
    """What was lost by place in the chunk, over the chunks seen so far."""
    found = []
    for start in sorted({block.start for block in blocks}):
        here = [block for block in blocks if block.start == start]
        tokens = sum(block.tokens for block in here)
        samples = np.array([(block.nll_candidate - block.nll_baseline) / block.tokens for block in here])
        found.append(
            PositionQuality(
                start=start,
                tokens=tokens,
                nll_difference=float(samples.mean()),
                standard_error=float(samples.std(ddof=1)) / math.sqrt(samples.size) if samples.size > 1 else 0.0,
                kl=sum(block.kl for block in here) / len(here),
                top1=sum(block.top1 for block in here) / tokens,
            )
        )
    return tuple(found)


def verdict(quality: QualityMeasurement, rule: GateRule) -> GateVerdict:
    """Passed, failed, or undecided as yet."""
    if quality.loss_high <= rule.limit:
        return GateVerdict.PASSED
    return GateVerdict.FAILED if quality.loss_low > rule.limit else GateVerdict.UNDECIDED


def hopeless(blocks: Sequence[Block], rule: GateRule) -> bool:
    """Whether going on to the bound would hardly pass the candidate, nor likely fail it: the interval is then too wide.

    Passing counts as unlikely where even a mean that drifts down by its one-sided 95 % allowance would not bring the
    upper end within the limit at the bound; failing, where today's mean would not put the lower end beyond it. Stopping
    then is free: the sequence holds whenever one stops, and undecided does not pass.
    """
    now, bound = len(blocks), rule.max_tokens // blocks[0].tokens
    if not rule.tuned_blocks <= now < bound:
        return False
    delta, limit = differences(blocks, rule), math.log1p(rule.limit)
    width = delta.deviation * boundary(bound, 1 - rule.confidence, rule.tuned_blocks)
    drift = NormalDist().inv_cdf(0.95) * delta.deviation * math.sqrt(1 / now - 1 / bound)
    return delta.mean - drift + width > limit and delta.mean - width <= limit


def decide(name: str, blocks: Sequence[Block], rule: GateRule, text: str) -> Look | None:
    """The decision on `name` as it stands; None before the first look is allowed."""
    if len(blocks) < rule.min_blocks or len(set(_chunks(blocks))) < 2:  # noqa: PLR2004 - one chunk shows no spread
        return None
    quality = measure(blocks, rule, text)
    found = verdict(quality, rule)
    given_up = found is GateVerdict.UNDECIDED and hopeless(blocks, rule)
    words = {
        GateVerdict.PASSED: f"passes the gate of {rule.limit:.2%}",
        GateVerdict.FAILED: f"fails the gate of {rule.limit:.2%}",
        GateVerdict.UNDECIDED: f"is undecided at the gate of {rule.limit:.2%} and does not pass",
    }
    hint = f" Going on to {rule.max_tokens:,} tokens would hardly have passed it." if given_up else ""
    sentence = (
        f"{name} {words[found]}: over {quality.tokens:,} tokens its perplexity differs by {quality.loss:+.2%}, "
        f"{rule.confidence:.0%} interval {quality.loss_low:+.2%} to {quality.loss_high:+.2%}.{hint}"
    )
    decision = GateDecision(verdict=found, limit=rule.limit, quality=quality, sentence=sentence)
    return Look(decision, settled=given_up or found is not GateVerdict.UNDECIDED)
