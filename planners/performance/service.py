"""Steady state of a server that batches continuously: step times -> TTFT, TPOT, tokens per second, sequences that fit.

A closed loop of `batch` sequences does one prompt and `output` tokens for each, so a round lasts
`batch * prompt + output * step`; while prompts come more seldom than steps, each has a step to itself. Of the others'
prompts a share delays the first token and the rest the later ones.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planners.performance.physics import Bench

Floats = NDArray[np.float64]

USABLE = 0.9
"""Share of an accelerator's memory that replicas are planned to fill: vLLM's default. Launches claim 0.92 (`launch.py`)
of what the runtime addresses, a percent less than what the driver reports."""
_RUNTIME_BYTES = 2e9
_GATHERED_BYTES = 6e9
"""Work space beyond that of a rank which gathers the tokens of all others for its experts: 8,192 tokens of each of
eight ranks, eight experts a token. Chosen on held-out mixtures, which differ little between 0 and this."""
_SEQUENCES = 2048.0
"""Sequences in flight per accelerator at the most: the engines' usual limit where throughput is all that counts."""
_LONGEST_QUEUE = 8.0
"""Rounds a request waits at the most: beyond it a deployment would have been laid out otherwise."""
_BUNCHING, _SPREADING, _LONG = 0.85, 0.15, 512.0
"""Prompts ahead of one that comes to a loaded server go as the others' number to the first power and as the answer's
length over the third to minus the second: clients that start together drift apart over long answers. First tokens of
aiconfigurator-core's servers leave for prompts ahead what goes by 0.8 to 1.0 and by minus 0.1 to 0.3."""
_NEAR, _REACHED = 0.35, 0.85
"""Times per token of systems that were tuned to a limit lie nearer to it than the physics says: a mean of logarithms,
with this share of what they reach of their limit in the median (MLPerf 4.1 Server). Chosen on held-out systems."""
_BISECTIONS, _CHORDS = 8, 1
"""Halvings of the range in which a load is sought, and chords through what is left of it."""
MOST_PROMPTS = 0.97
"""Share of an engine's time that prompts take at the most."""
_NOBODY = 1e-9
_RARE = 100.0
"""One in so many requests waits longer than the 99th percentile."""
_SPARE = 2.0
"""A limit on first tokens is at least this many idle ones: systems that meet no limit are not submitted."""
_SLACK = 1.25
"""For the same reason a limit on times per token is at least this many of a request that is alone."""
_SOFT = 4.0
"""Power of the mean that keeps first tokens of submitted systems within their limit."""


@dataclass(frozen=True)
class Steady:
    """Seconds, medians and 99th percentiles, and output tokens per second of one replica; arrays of shape (rows,)."""

    ttft: Floats
    tpot: Floats
    ttft_p99: Floats
    tpot_p99: Floats
    output: Floats


@dataclass(frozen=True)
class Limits:
    """What a suite allows at the 99th percentile, in seconds; arrays of shape (rows,)."""

    ttft: Floats
    tpot: Floats


def capacity(bench: Bench, context: Floats) -> Floats:
    """Sequences of `context` tokens whose KV cache fits beside the weights; at least one."""
    work, machine = bench.work, bench.machine
    weights = (work.always * machine.dealt + work.head + work.experts) * machine.weight
    runtime = np.where(machine.dealt > 1, _GATHERED_BYTES, 0.0) + _RUNTIME_BYTES
    free = machine.tp * machine.pp * (machine.memory * USABLE - runtime) - weights
    copies = machine.tp / bench.parts()
    return np.maximum(free / (work.kv_elements(context) * machine.cell * copies), 1.0)


def room(bench: Bench, length: Floats, output: Floats) -> Floats:
    """Requests of `length` and `output` tokens, of all beams together, that a scheduler admits beside each other."""
    return capacity(bench, length + bench.machine.reserved * output)


def static(bench: Bench, batch: Floats, length: Floats, output: Floats) -> Steady:
    """All prompts begin together, all sequences end together."""
    ttft = bench.first_token(batch, length)
    tpot = bench.step(batch, length + output / 2)
    return Steady(ttft, tpot, ttft, tpot, batch * output / (ttft + (output - 1) * tpot))


def continuous(bench: Bench, batch: Floats, length: Floats, output: Floats, *, in_step: bool = False) -> Steady:
    """A closed loop of `batch` sequences, each replaced when it ends; those that do not fit wait their turn."""
    fits = np.minimum(batch, room(bench, length, output))
    fits = np.maximum(fits, batch / _LONGEST_QUEUE)
    state = _in_flight(bench, fits, length, output, np.ones(1), in_step=in_step)
    waiting = (batch / fits - 1) * fits * output / state.output
    return replace(state, ttft=state.ttft + waiting, ttft_p99=state.ttft_p99 + waiting)


def arriving(bench: Bench, rate: Floats, length: Floats, output: Floats) -> Steady:
    """Poisson arrivals of `rate` requests per second: as many in flight as Little's law keeps there.

    Prompts wait for a step and for each other as in M/D/1, and decoding gets the time that they leave. Of a rate
    that is too high for the server it serves what it can, and the queue, which grows without end, is in no first token.
    """
    most = np.maximum(_saturated(bench, length, output, np.ones(1)), 1.0)
    kept = np.minimum(rate, _in_flight(bench, most, length, output, np.ones(1)).output / output)
    alone, one = bench.first_token(np.ones(1), length), bench.newcomer(length, np.ones(1))
    use = np.minimum(kept * one, MOST_PROMPTS)

    def times(batch: Floats) -> tuple[Floats, Floats]:
        tpot = bench.step(np.maximum(batch, 1.0), length + output / 2) / (1 - use)
        return alone + np.minimum(batch, 1.0) * tpot + use * one / (2 * (1 - use)), tpot

    def beyond(batch: Floats) -> Floats:
        """Logarithm by which more are in flight than arrive while one is served."""
        ttft, tpot = times(batch)
        return np.log(batch / (kept * (ttft + (output - 1) * tpot)))

    ttft, tpot = times(_crossing(beyond, np.full_like(most, _NOBODY), most))
    return _with_tails(bench, Steady(ttft, tpot, ttft, tpot, kept * output))


def queued(bench: Bench, batch: Floats, length: Floats, output: Floats, beams: Floats) -> Steady:
    """All `batch` requests at once: as many in flight as there are and as memory and the engine's limits let in."""
    fits = np.minimum(_saturated(bench, length, output, beams), batch)
    return _in_flight(bench, np.maximum(fits, 1.0), length, output, beams)


def admitted(bench: Bench, length: Floats, output: Floats, beams: Floats, limits: Limits) -> Steady:
    """Poisson arrivals at the highest rate whose 99th percentiles of TTFT and TPOT stay within limits.

    Which load that is hangs on steps and prompts alone: prompts wait as in M/D/1 (Pollaczek and Khinchine), rare waits
    fall off exponentially (Kingman 1961). What clients and schedulers add to first tokens is fitted at that load: were
    it to choose the load too, first tokens would be at the limit whatever is fitted.
    """
    most = np.maximum(_saturated(bench, length, output, beams), 1.0)
    alone = bench.first_token(np.ones(1), length)
    first = np.maximum(limits.ttft, _SPARE * alone)
    single, _ = _step(bench, np.ones(1), length, output, beams)
    later = np.maximum(limits.tpot, _SLACK * bench.fitted.tpot_tail * single)

    def missed(batch: Floats) -> Floats:
        """Logarithm by which the nearer of the limits is exceeded."""
        step, one = _step(bench, batch, length, output, beams)
        prompts = batch * one / output
        busy = prompts / (step + prompts)
        wait = one / (2 * (1 - busy)) * np.log(np.maximum(_RARE * busy, 1.0))
        tpot = bench.fitted.tpot_tail * (step + prompts)
        return np.log(np.maximum(tpot / later, (alone + step + wait) / first))

    limit = _crossing(missed, np.ones_like(most), most)
    state = _in_flight(bench, np.maximum(limit * bench.fitted.load, 1.0), length, output, beams)
    reached = _REACHED * later / bench.fitted.tpot_tail
    state = _with_tails(bench, replace(state, tpot=state.tpot ** (1 - _NEAR) * reached**_NEAR))
    late = (state.ttft_p99**-_SOFT + limits.ttft**-_SOFT) ** (-1 / _SOFT)
    return replace(state, ttft_p99=late)


def _crossing(rising: Callable[[Floats], Floats], low: Floats, high: Floats) -> Floats:
    """Loads between `low` and `high` at which a rising function of them passes zero; the nearer end where none does.

    Bisections, then chords: a load of rougher grain would leave the slopes of whatever is fitted to it to chance.
    """
    first, last = rising(low), rising(high)
    for turn in range(_BISECTIONS + _CHORDS):
        part = 0.5 if turn < _BISECTIONS else _chord(first, last)
        between = low ** (1 - part) * high**part
        value = rising(between)
        over = value > 0
        low, first = np.where(over, low, between), np.where(over, first, value)
        high, last = np.where(over, between, high), np.where(over, value, last)
    part = _chord(first, last)
    return low ** (1 - part) * high**part


def _chord(first: Floats, last: Floats) -> Floats:
    """Where the line from `first` to `last` passes zero, as a share of the way."""
    rise = np.maximum(last - first, _NOBODY)
    found: Floats = np.clip(-first / rise, 0.0, 1.0)
    return found


def _with_tails(bench: Bench, state: Steady) -> Steady:
    """Poisson arrivals bunch: 99th percentiles as fitted."""
    late, slow = state.ttft * bench.fitted.ttft_tail, state.tpot * bench.fitted.tpot_tail
    return replace(state, ttft_p99=late, tpot_p99=slow)


def _saturated(bench: Bench, length: Floats, output: Floats, beams: Floats) -> Floats:
    """Requests in flight where more wait: what memory and the engine's limits let in, and what of it is filled."""
    return np.minimum(room(bench, length, beams * output), _SEQUENCES * bench.machine.tp) * bench.fitted.fill


def _step(bench: Bench, batch: Floats, length: Floats, output: Floats, beams: Floats) -> tuple[Floats, Floats]:
    """Seconds of a step of `batch` requests, and what one more prompt adds to the steps of others."""
    step = bench.step(batch * beams, length + output / 2, beams)
    return step, bench.newcomer(length, np.minimum(output / batch, 1.0))


def _in_flight(
    bench: Bench, batch: Floats, length: Floats, output: Floats, beams: Floats, *, in_step: bool = False
) -> Steady:
    """A closed loop of `batch` requests of `beams` sequences each.

    In the median half of the others' prompts are ahead of one where clients are `in_step`, fewer where they have
    drifted apart; at the 99th percentile all of them are, or they all delay its later tokens.
    """
    alone = bench.first_token(np.ones(1), length)
    step, one = _step(bench, batch, length, output, beams)
    beside = np.maximum(batch - 1, 0.0)
    others = beside * one
    ahead = bench.fitted.stagger * beside**_BUNCHING * (output / _LONG) ** -_SPREADING
    half = beside / 2
    delayed = others / 2 if in_step else one * ahead * half / np.maximum(ahead + half, _NOBODY)
    soonest = alone + (step + bench.fitted.client_us * 1e-6) * (batch > 1)
    ttft, tpot = soonest + delayed, step + (others - delayed) / output
    crowd = np.where(batch > 1, bench.fitted.crowd, 1.0)
    return Steady(
        ttft=ttft * crowd,
        tpot=tpot,
        ttft_p99=(soonest + others) * crowd,
        tpot_p99=step + others / output,
        output=batch * output / (ttft + (output - 1) * tpot),
    )
