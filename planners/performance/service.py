"""Steady state of a server that batches continuously: step times -> TTFT, TPOT, tokens per second, sequences that fit.

A closed loop of `batch` sequences does one prompt and `output` tokens for each, so a round lasts
`batch * prompt + output * step`. Of the others' prompts a share delays the first token and the rest the later ones.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planners.performance.physics import Bench

Floats = NDArray[np.float64]

_USABLE = 0.9
_RUNTIME_BYTES = 1.5e9


@dataclass(frozen=True)
class Steady:
    """Seconds, and output tokens per second of one replica; arrays of shape (rows,)."""

    ttft: Floats
    tpot: Floats
    output: Floats


def capacity(bench: Bench, context: Floats) -> Floats:
    """Sequences of `context` tokens whose KV cache fits beside the weights; at least one."""
    work, machine = bench.work, bench.machine
    weights = (work.always + work.head + work.experts) * machine.weight
    free = machine.tp * machine.pp * (machine.memory * _USABLE - _RUNTIME_BYTES) - weights
    copies = machine.tp / np.minimum(machine.tp, work.kv_heads)
    return np.maximum(free / (work.kv_elements(context) * machine.cell * copies), 1.0)


def static(bench: Bench, batch: Floats, length: Floats, output: Floats) -> Steady:
    """All prompts begin together, all sequences end together."""
    ttft = bench.first_token(batch, length)
    tpot = bench.step(batch, length + output / 2)
    return Steady(ttft, tpot, batch * output / (ttft + (output - 1) * tpot))


def continuous(bench: Bench, batch: Floats, length: Floats, output: Floats) -> Steady:
    """A closed loop of `batch` sequences, each replaced when it ends."""
    fits = np.minimum(batch, capacity(bench, length + output / 2))
    alone = bench.first_token(np.ones_like(fits), length)
    step = bench.step(fits, length + output / 2)
    others = (fits - 1) * bench.arithmetic(length) / bench.machine.pp
    delayed = others * bench.fitted.stagger / (1 + bench.fitted.stagger)
    ttft = alone + step / 2 * (fits > 1) + delayed
    tpot = step + (others - delayed) / output
    cycle = ttft + (output - 1) * tpot
    queued = (batch / fits - 1) * cycle
    return Steady(ttft + queued, tpot, fits * output / cycle)
