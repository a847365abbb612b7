"""Rooflines of prompts and of decoding steps: work, machine, fitted efficiencies -> seconds. Arrays of one shape.

Traffic and arithmetic overlap: their times are joined by a p-norm (p = `sharpness`). Launches, host work and
communication come on top. All-reduce after Megatron-LM (arXiv 1909.08053, two a layer) with a ring's 2 (n - 1) / n
volume; pipelining after GPipe (arXiv 1811.06965); roofline after Williams et al. (CACM 2009).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planners.performance.calibration import Parameters
from planners.performance.kernels import Kernels
from planners.performance.work import Work

Floats = NDArray[np.float64]

_REDUCES = 2.0
_ACTIVATION_BYTES = 2.0
_HOP_SECONDS = 20e-6
_ONE_BEAM = np.ones(1)


@dataclass(frozen=True)
class Machine:
    """One accelerator and how many of them share a model; every field is an array of shape (rows,).

    Bandwidth and link in bytes per second, `peak` in FLOP per second for the format's arithmetic, `weight` and `cell`
    in bytes per parameter and per cached element.
    """

    bandwidth: Floats
    peak: Floats
    link: Floats
    memory: Floats
    weight: Floats
    cell: Floats
    starts: Floats
    """How often an all-reduce starts: once, or once for every two ranks where one rank copies to all others."""
    tp: Floats
    pp: Floats
    chunk: Floats
    """Prompt tokens of one pass at the most."""
    reserved: Floats
    """Share of an answer for which the scheduler keeps room when it admits a request."""
    beamed: Floats
    """How much longer than matrix products the arithmetic of attention takes in a search by beams."""
    dealt: Floats
    """Ranks among which whole sequences are dealt, each with all weights but the experts; 1 where ranks share each."""


@dataclass(frozen=True)
class Bench:
    """Rows of a model on a machine with its efficiencies: everything that does not depend on the load."""

    work: Work
    machine: Machine
    fitted: Parameters
    sharpness: float
    kernels: Kernels | None = None
    """Measured kernels' times, which stand in for traffic, arithmetic and all-reduces where they are known."""

    def step(self, batch: Floats, context: Floats, beams: Floats = _ONE_BEAM) -> Floats:
        """Seconds for one token of each of `batch` sequences with `context` tokens, on all pipeline stages.

        With pipeline stages the batch is cut into as many micro-batches, which follow each other. The `beams` of a
        request are sequences that share their cache: it is read once, and each of them attends to it.
        """
        work, machine, fitted = self.work, self.machine, self.fitted
        micro = np.maximum(batch / machine.pp, 1.0)
        traffic = self._weights(micro) / (machine.bandwidth * fitted.bandwidth)
        cached = work.kv_read(context) * machine.cell / beams
        traffic = traffic + micro * cached / (self.parts() * machine.bandwidth * fitted.cache)
        attend = work.attend_decode * context + work.attend_window * np.minimum(context, work.window)
        attend = attend * np.where(beams > 1, machine.beamed, 1.0)
        arithmetic = micro * (2 * work.active() + attend) / (machine.tp * machine.peak * fitted.decode)
        host = work.layers * fitted.layer_us + fitted.step_us + micro / machine.dealt * fitted.sequence_us
        hops = (machine.pp - 1) * _HOP_SECONDS
        busy = self._join(traffic, arithmetic) + self._reduce(micro)
        if self.kernels is not None:
            measured = self.kernels.step(micro) * fitted.kernel_step
            busy = np.where(np.isnan(measured), busy, measured)
        return busy + host * 1e-6 + hops

    def prefill(self, prompts: Floats, length: Floats) -> Floats:
        """Seconds until `prompts` prompts of `length` tokens, begun together, have all been read."""
        work, machine, fitted = self.work, self.machine, self.fitted
        tokens = prompts * length
        passes = np.maximum(np.ceil(tokens / machine.chunk), 1.0)
        each = np.minimum(tokens, machine.chunk)
        traffic = passes * self._weights(each) / (machine.bandwidth * fitted.bandwidth)
        host = passes * (work.layers * fitted.eager_us + fitted.step_us)
        stages = (passes + machine.pp - 1) / (passes * machine.pp)
        busy = self._join(traffic, prompts * self._flops_seconds(length)) + self._reduce(tokens)
        if self.kernels is not None:
            measured = self.kernels.prefill(prompts) * fitted.kernel_prompt
            busy = np.where(np.isnan(measured), busy, measured)
        return (busy + host * 1e-6) * stages + (machine.pp - 1) * _HOP_SECONDS

    def newcomer(self, length: Floats, apart: Floats) -> Floats:
        """Seconds that one prompt of `length` tokens adds to the steps of others.

        A share `apart` of prompts has a pass to itself, whose kernels are launched one by one beside the step's.
        """
        passes = np.maximum(np.ceil(length / self.machine.chunk), 1.0)
        launches = apart * passes * self.work.layers * self.fitted.eager_us * 1e-6
        busy = self._flops_seconds(length) + self._sent(length)
        if self.kernels is not None:
            measured = self.kernels.more * self.fitted.kernel_prompt
            busy = np.where(np.isnan(measured), busy, measured)
        return (busy + launches) / self.machine.pp

    def parts(self) -> Floats:
        """Ranks that cache different things: by heads, or by sequences where these are dealt. Others hold copies."""
        return np.minimum(self.machine.tp, np.maximum(self.work.kv_heads, self.machine.dealt))

    def _weights(self, tokens: Floats) -> Floats:
        """Bytes of weights that one rank reads for a pass of `tokens`."""
        again = (self.machine.dealt - 1) * self.work.always
        return (self.work.touched(tokens) + again) * self.machine.weight / self.machine.tp

    def _flops_seconds(self, length: Floats) -> Floats:
        work, machine = self.work, self.machine
        seen = np.minimum(length, work.window)
        attend = work.attend_full * length**2 / 2 + work.attend_window * (seen**2 / 2 + (length - seen) * seen)
        flops = 2 * (work.active() - work.head) * length + 2 * work.head + attend
        return flops / (machine.tp * machine.peak * self.fitted.prefill)

    def first_token(self, prompts: Floats, length: Floats) -> Floats:
        """Seconds until the first token of `prompts` prompts that arrive together at an idle engine."""
        return self.prefill(prompts, length) + (self.fitted.first_us + prompts * length * self.fitted.read_us) * 1e-6

    def _reduce(self, tokens: Floats) -> Floats:
        """Seconds of all-reduces for a pass of `tokens` tokens; none without tensor parallelism."""
        starts = _REDUCES * self.work.layers * self.machine.starts * self.fitted.reduce_us * 1e-6
        return np.where(self.machine.tp > 1, starts, 0.0) + self._sent(tokens)

    def _sent(self, tokens: Floats) -> Floats:
        """Seconds that links take for the all-reduces of `tokens` tokens; none for one rank."""
        machine = self.machine
        volume = tokens * self.work.hidden * _ACTIVATION_BYTES * 2 * (machine.tp - 1) / machine.tp
        return _REDUCES * self.work.layers * volume / (machine.link * self.fitted.link)

    def _join(self, first: Floats, second: Floats) -> Floats:
        """The p-norm of two times: their maximum where one dominates, more where they meet."""
        top = np.maximum(first, second)
        ratio = np.minimum(first, second) / top
        joined: Floats = top * (1 + ratio**self.sharpness) ** (1 / self.sharpness)
        return joined
