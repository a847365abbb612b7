"""Speeds by batch and a rate of arrivals in, latency percentiles out: closed forms for the wide search.

A replica holds at most a batch limit of sequences; each waits for a slot (Sakasegawa 1977), then for the prompts
before its own (M/D/1 with an exponential tail), and decodes among as many others as Little's law keeps there, in the
share of the engine's time that prompts leave. How many there are varies as a Poisson count does, which gives the
percentiles of decoding. Where no request joins a batch that runs, it also waits for that batch's end.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planners.performance.service import MOST_PROMPTS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

MAX_UTILISATION = 0.95
"""Queues grow without measure nearer to one."""

_Z95, _Z99 = 1.645, 2.326
_CLOSED_P95, _CLOSED_P99 = 1.1, 1.2
"""Latency percentiles over the median with a fixed number open: 1.00 to 1.34, 1.03 in the median of twelve loads of
vLLM on one H200 (`benchmarks/reference/perf_measured.csv` has the rest of them)."""


@dataclass(frozen=True)
class Replica:
    """One replica of each cell by batch: `batches` (B,); `tpot_s`, `step_s`, `tokens_s` (C, B); the others (C, 1).

    `tpot_s` seconds per token in a closed loop, `step_s` of one decoding step alone, `tokens_s` output tokens per
    second, `prompt_s` seconds of an idle engine's first token, `busy_s` and `alone_s` seconds that a prompt
    takes from the others in a shared pass and in one of its own, `passes` engine iterations that a prompt shares,
    `joins` whether requests join the batch that runs.
    """

    batches: Floats
    tpot_s: Floats
    step_s: Floats
    tokens_s: Floats
    prompt_s: Floats
    busy_s: Floats
    alone_s: Floats
    passes: Floats
    joins: Bools
    output: int


@dataclass(frozen=True)
class Latency:
    """Milliseconds (C, B); `capacity` requests per second at each batch limit; `load` the share of it in use."""

    ttft_p50: Floats
    ttft_p95: Floats
    ttft_p99: Floats
    tpot: Floats
    tpot_p95: Floats
    latency_p50: Floats
    latency_p95: Floats
    latency_p99: Floats
    capacity: Floats
    load: Floats


def at_batch(values: Floats, batches: Floats, wanted: Floats) -> Floats:
    """`values` (C, B) between the columns of `batches` (B,), at `wanted` (C, K)."""
    right = np.clip(np.searchsorted(batches, wanted), 1, batches.size - 1)
    left = right - 1
    share = np.clip((wanted - batches[left]) / (batches[right] - batches[left]), 0.0, 1.0)
    low, high = np.take_along_axis(values, left, axis=1), np.take_along_axis(values, right, axis=1)
    return low + share * (high - low)


def open_loop(replica: Replica, rate: Floats) -> Latency:
    """Poisson arrivals at `rate` (C, 1) requests per second for each replica."""
    slots = replica.batches[None, :]
    # What it was measured to sustain with all queued, and what its prompts and steps add up to, whichever is less.
    rounds = replica.busy_s + replica.output * replica.step_s / slots
    capacity = np.maximum.accumulate(np.minimum(replica.tokens_s / replica.output, 1 / rounds), axis=1)
    load = rate / capacity
    # Prompts take their share of the engine; decoding gets what is left, so its steps stretch.
    busy = _pass_s(replica, load)
    prompt_load = np.clip(rate * busy, 0.0, MOST_PROMPTS)
    step = np.maximum.accumulate(replica.step_s, axis=1) / (1 - prompt_load)
    held = np.minimum(_present(replica.batches, replica.batches / step, rate * replica.output), slots)
    tpot = at_batch(step, replica.batches, np.maximum(held, 1.0))
    wait_mean, wait_chance = _slot_wait(replica, load, slots)
    prompt_mean = prompt_load * busy / (2 * (1 - prompt_load))
    share = np.minimum(held, 1.0)
    first = replica.prompt_s + share * replica.passes * tpot
    ttft_p50 = first + 0.5 * (wait_mean + prompt_mean)
    ttft_p95 = first + share * tpot + _tail(prompt_load, prompt_mean, 0.05) + _tail(wait_chance, wait_mean, 0.05)
    ttft_p99 = first + share * tpot + _tail(prompt_load, prompt_mean, 0.01) + _tail(wait_chance, wait_mean, 0.01)
    batch_end = np.where(replica.joins, 0.0, replica.output * tpot)
    ttft_p50, ttft_p95, ttft_p99 = (
        first + _left(batch_end, share, beyond)
        for first, beyond in ((ttft_p50, 0.5), (ttft_p95, 0.05), (ttft_p99, 0.01))
    )
    rest = replica.output - 1
    bunched = busy * np.sqrt(rate)
    crowded = [_crowded(replica, step, held, bunched, load=load, z=z) for z in (_Z95, _Z99)]
    return Latency(
        ttft_p50=1e3 * ttft_p50,
        ttft_p95=1e3 * ttft_p95,
        ttft_p99=1e3 * ttft_p99,
        tpot=1e3 * tpot,
        tpot_p95=1e3 * crowded[0],
        latency_p50=1e3 * (ttft_p50 + rest * tpot),
        latency_p95=1e3 * (ttft_p95 + rest * crowded[0]),
        latency_p99=1e3 * (ttft_p99 + rest * crowded[1]),
        capacity=capacity,
        load=load,
    )


def closed_loop(replica: Replica, always_open: Floats) -> Latency:
    """`always_open` (C, 1) requests at each replica, each replaced when it ends; the batch limit queues the rest.

    Answers are of one length, so clients that begin together stay in step and their prompts come together: in the
    median half of the others' are ahead of one, at the 95th percentile nearly all. What waits less for its first
    token waits the more for the rest. (Measured so, on one H200 and on two cores: `docs/accuracy.md`.)
    """
    wanted = np.maximum(always_open, 1.0)
    held = np.minimum(wanted, replica.batches[None, :])
    tpot, step = (at_batch(column, replica.batches, held) for column in (replica.tpot_s, replica.step_s))
    rate = at_batch(replica.tokens_s, replica.batches, held) / replica.output
    queued = (wanted - held) / rate
    rest = max(replica.output - 1, 1)
    soonest = replica.prompt_s + step * (held > 1)
    whole = np.maximum(np.minimum(soonest, held / rate) + queued + (replica.output - 1) * tpot, wanted / rate)
    latest = np.maximum(whole - queued - rest * step, replica.prompt_s)
    others = (held - 1) * replica.busy_s
    first, late = (np.minimum(soonest + share * others, latest) + queued for share in (0.5, 0.95))
    spread = np.maximum(whole - queued - np.minimum(soonest, latest), 0.0) / rest
    return Latency(
        ttft_p50=1e3 * first,
        ttft_p95=1e3 * late,
        ttft_p99=1e3 * late,
        tpot=1e3 * np.maximum(whole - first, 0.0) / rest,
        tpot_p95=1e3 * spread,
        latency_p50=1e3 * whole,
        latency_p95=1e3 * whole * _CLOSED_P95,
        latency_p99=1e3 * whole * _CLOSED_P99,
        capacity=rate,
        load=np.ones_like(rate),
    )


def _pass_s(replica: Replica, load: Floats) -> Floats:
    """Seconds that a prompt takes from the others, (C, 1): alone in its pass when quiet, shared with more when busy."""
    use = np.clip(load.min(axis=1, keepdims=True), 0.0, 1.0)
    return np.asarray((1 - use) * replica.alone_s + use * replica.busy_s)


def _crowded(replica: Replica, step: Floats, held: Floats, bunched: Floats, *, load: Floats, z: float) -> Floats:
    """Seconds per token that a share of requests beyond `z` deviations exceed, (C, B).

    More sequences beside it than on average, and more prompts read during its life (`bunched`: one deviation of their
    seconds in a life of one second). Both feed on each other most at half load: half of
    `load * (1 - load)` is what simulated arrivals add to the two, within a tenth in the median over 84 layouts.
    """
    slots = replica.batches[None, :]
    mean = at_batch(step, replica.batches, np.maximum(held, 1.0))
    full = at_batch(step, replica.batches, np.clip(held + z * np.sqrt(held), 1.0, slots))
    prompts = z * bunched * np.sqrt(replica.output * mean) / replica.output
    use = np.clip(load, 0.0, 1.0)
    return np.asarray((full + prompts) * (1 + 0.5 * use * (1 - use)))


def _present(batches: Floats, capacity: Floats, rate: Floats) -> Floats:
    """Sequences in a replica at `rate`, (C, 1): where its capacity just keeps up; below one while it mostly idles."""
    capacity = np.maximum.accumulate(capacity, axis=1)
    enough = capacity >= rate
    right = np.where(enough.any(axis=1), enough.argmax(axis=1), batches.size - 1)[:, None]
    left = np.maximum(right - 1, 0)
    high, low = np.take_along_axis(capacity, right, axis=1), np.take_along_axis(capacity, left, axis=1)
    share = np.clip((rate - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)
    between = batches[left] + share * (batches[right] - batches[left])
    return np.where(right == 0, rate / capacity[:, :1], between)


def _slot_wait(replica: Replica, load: Floats, slots: Floats) -> tuple[Floats, Floats]:
    """Mean seconds until a slot is free, and the chance to wait at all (Sakasegawa 1977 for M/G/c).

    Answers of equal length hold their slots for equal times, which halves the wait.
    """
    use = np.clip(load, 0.0, 0.995)
    chance = use ** (np.sqrt(2 * (slots + 1)) - 1)
    service = slots * replica.output / replica.tokens_s
    return 0.5 * chance * service / slots / (1 - use), chance


def _left(batch_s: Floats, busy: Floats, beyond: float) -> Floats:
    """Seconds left of a batch that all but a share `beyond` wait at the most; a share `busy` comes while one runs."""
    return np.asarray(batch_s * np.maximum(1 - beyond / np.maximum(busy, 1e-12), 0.0))


def _tail(chance: Floats, mean: Floats, beyond: float) -> Floats:
    """The wait that a share `beyond` exceeds, if a share `chance` waits and those waits are exponential."""
    waiting = np.maximum(mean / np.maximum(chance, 1e-12), 0.0)
    return waiting * np.maximum(np.log(np.maximum(chance, 1e-12) / beyond), 0.0)
