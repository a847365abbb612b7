"""Steady state of a server that batches continuously: step times -> TTFT, TPOT, tokens per second, sequences that fit.

A closed loop of `batch` sequences does one prompt and `output` tokens for each, so a round lasts
`batch * prompt + output * step`; while prompts come more seldom than steps, each has a step to itself. Of the others'
prompts a share delays the first token and the rest the later ones.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planners.performance.physics import Bench

Floats = NDArray[np.float64]

USABLE = 0.9
"""Share of an accelerator's memory that replicas are planned to fill: vLLM's default. Launches claim 0.92 (`launch.py`)
of what the runtime addresses, a percent less than what the driver reports."""
_RUNTIME_BYTES = 2e9
_SEQUENCES = 2048.0
"""Sequences in flight per accelerator at the most: the engines' usual limit where throughput is all that counts."""
_LONGEST_QUEUE = 8.0
"""Rounds a request waits at the most: beyond it a deployment would have been laid out otherwise."""
_BUNCHING, _SPREADING, _LONG = 0.65, 0.5, 512.0
"""Prompts ahead of one that comes to a loaded server go as the others' number to the first power and as the answer's
length over the third to minus the second: clients that start together drift apart over long answers. Both powers were
chosen on held-out servers of aiconfigurator-core's sample; 1 and 0 are worse."""
_NEAR, _REACHED = 0.35, 0.85
"""Times per token of systems that were tuned to a limit lie nearer to it than the physics says: a mean of logarithms,
with this share of what they reach of their limit in the median (MLPerf 4.1 Server). Chosen on held-out systems."""
_BISECTIONS = 12
_NOBODY = 1e-9


@dataclass(frozen=True)
class Steady:
    """Seconds, and output tokens per second of one replica; arrays of shape (rows,)."""

    ttft: Floats
    tpot: Floats
    output: Floats


@dataclass(frozen=True)
class Limits:
    """What a suite allows at the 99th percentile, in seconds; arrays of shape (rows,)."""

    ttft: Floats
    tpot: Floats


def capacity(bench: Bench, context: Floats) -> Floats:
    """Sequences of `context` tokens whose KV cache fits beside the weights; at least one."""
    work, machine = bench.work, bench.machine
    weights = (work.always + work.head + work.experts) * machine.weight
    free = machine.tp * machine.pp * (machine.memory * USABLE - _RUNTIME_BYTES) - weights
    copies = machine.tp / np.minimum(machine.tp, work.kv_heads)
    return np.maximum(free / (work.kv_elements(context) * machine.cell * copies), 1.0)


def room(bench: Bench, length: Floats, output: Floats) -> Floats:
    """Requests of `length` and `output` tokens that a scheduler admits beside each other."""
    return capacity(bench, length + bench.machine.reserved * output)


def static(bench: Bench, batch: Floats, length: Floats, output: Floats) -> Steady:
    """All prompts begin together, all sequences end together."""
    ttft = bench.first_token(batch, length)
    tpot = bench.step(batch, length + output / 2)
    return Steady(ttft, tpot, batch * output / (ttft + (output - 1) * tpot))


def continuous(bench: Bench, batch: Floats, length: Floats, output: Floats) -> Steady:
    """A closed loop of `batch` sequences, each replaced when it ends; those that do not fit wait their turn."""
    fits = np.minimum(batch, room(bench, length, output))
    fits = np.maximum(fits, batch / _LONGEST_QUEUE)
    state = _in_flight(bench, fits, length, output, np.ones(1))
    waiting = (batch / fits - 1) * fits * output / state.output
    return Steady(state.ttft + waiting, state.tpot, state.output)


def queued(bench: Bench, batch: Floats, length: Floats, output: Floats, beams: Floats) -> Steady:
    """All `batch` requests at once: as many in flight as there are and as memory and the engine's limits let in."""
    fits = np.minimum(_saturated(bench, length, output, beams), batch)
    return _in_flight(bench, np.maximum(fits, 1.0), length, output, beams)


def admitted(bench: Bench, length: Floats, output: Floats, beams: Floats, limits: Limits) -> Steady:
    """Poisson arrivals at the highest rate whose 99th percentiles of TTFT and TPOT stay within limits."""
    most = np.maximum(_saturated(bench, length, output, beams), 1.0)
    low, high = np.ones_like(most), most
    for _ in range(_BISECTIONS):
        middle = np.sqrt(low * high)
        state = _in_flight(bench, middle, length, output, beams)
        meets = (state.tpot * bench.fitted.tpot_tail <= limits.tpot) & (
            state.ttft * bench.fitted.ttft_tail <= limits.ttft
        )
        low, high = np.where(meets, middle, low), np.where(meets, high, middle)
    state = _in_flight(bench, np.maximum(low * bench.fitted.load, 1.0), length, output, beams)
    reached = _REACHED * limits.tpot / bench.fitted.tpot_tail
    return replace(state, tpot=state.tpot ** (1 - _NEAR) * reached**_NEAR)


def _saturated(bench: Bench, length: Floats, output: Floats, beams: Floats) -> Floats:
    """Requests in flight where more wait: what memory and the engine's limits let in, and what of it is filled."""
    return np.minimum(room(bench, length, output) / beams, _SEQUENCES * bench.machine.tp) * bench.fitted.fill


def _in_flight(bench: Bench, batch: Floats, length: Floats, output: Floats, beams: Floats) -> Steady:
    """A closed loop of `batch` requests of `beams` sequences each."""
    alone = bench.first_token(np.ones(1), length)
    step = bench.step(batch * beams, length + output / 2)
    one = bench.newcomer(length, np.minimum(output / batch, 1.0))
    beside = np.maximum(batch - 1, 0.0)
    others = beside * one
    ahead = bench.fitted.stagger * beside**_BUNCHING * (output / _LONG) ** -_SPREADING
    half = beside / 2
    delayed = one * ahead * half / np.maximum(ahead + half, _NOBODY)
    ttft = alone + (step + bench.fitted.client_us * 1e-6) * (batch > 1) + delayed
    tpot = step + (others - delayed) / output
    seen = ttft * np.where(batch > 1, bench.fitted.crowd, 1.0)
    return Steady(seen, tpot, batch * output / (ttft + (output - 1) * tpot))
