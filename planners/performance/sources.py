"""How fast layouts of a model run: the best source that knows each, with its spread and its evidence class."""

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from planners.performance.calibration import PARAMETERS, Parameters, Subject, calibration, subject_of
from planners.performance.machines import Formats, Shape, machine_of
from planners.performance.physics import Bench, Machine
from planners.performance.published import rate_class
from planners.performance.service import continuous
from planners.performance.work import Work
from schemas.evidence import Evidence
from schemas.hardware import Accelerator
from schemas.model import ModelFacts

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """One engine, format and accelerator with many ways to lay the model out; arrays that broadcast with each other.

    `batch` counts concurrent sequences of a replica, `batched_tokens` tokens of one pass, `threads` CPU threads
    (ignored on other accelerators). An engine may name a variant after a slash (`tensorrt-llm/mlperf`).
    """

    engine: str
    accelerator: Accelerator
    weight_format: str
    kv_format: str
    input_tokens: int
    output_tokens: int
    tp: Counts
    pp: Counts
    batch: Counts
    batched_tokens: Counts
    threads: Counts


@dataclass(frozen=True)
class Speeds:
    """Predictions for layouts, in the shape of what they depend on; deviations by layout.

    A 90 % interval is value * exp(±1.645 * sd).
    """

    ttft_ms: Floats
    """One prompt on an idle engine."""
    prefill_tok_s: Floats
    """While the engine reads one prompt, without what precedes its start."""
    tpot_ms: Floats
    """At the layout's batch, with the prompts of newcomers in between."""
    output_tok_s: Floats
    """Of one replica at the layout's batch."""
    ttft_log_sd: Floats
    prefill_log_sd: Floats
    tpot_log_sd: Floats
    output_log_sd: Floats
    evidence: Evidence
    bench: Bench
    """What they were computed with."""


def speeds(model: ModelFacts, *layouts: Layout) -> Speeds:
    """Predicted speeds of `model` in `layouts`, whose rows follow each other.

    Several layouts have arrays of shape (rows, 1) and share the batches (1, columns) and the answers of the first.

    Raises:
        ValueError: if a layout names an unknown format.
    """
    bench = bench_of(model, *layouts)
    batch = layouts[0].batch.astype(np.float64)
    one = np.ones(1)
    lengths = [np.full(layout.tp.shape, float(layout.input_tokens)) for layout in layouts]
    length, output = np.concatenate(lengths), one * layouts[0].output_tokens
    alone = bench.first_token(one, length)
    steady = continuous(bench, batch, length, output)
    ttft, prefill, tpot, rate = np.array([_spread(model, layout) for layout in layouts]).T
    return Speeds(
        ttft_ms=alone * 1e3,
        prefill_tok_s=length / bench.prefill(one, length),
        tpot_ms=steady.tpot * 1e3,
        output_tok_s=steady.output,
        ttft_log_sd=ttft,
        prefill_log_sd=prefill,
        tpot_log_sd=tpot,
        output_log_sd=rate,
        evidence=Evidence.CALIBRATED,
        bench=bench,
    )


def _spread(model: ModelFacts, layout: Layout) -> tuple[float, ...]:
    """Standard deviations of logarithms of TTFT, prefill, TPOT and output, as held-out rows of the class had them."""
    known = calibration()
    who = subject_of(model, layout.engine, layout.accelerator, layout.weight_format)
    new = known.new(who)
    rate = rate_class(who.engine, layout.accelerator.key)
    return tuple(known.deviation(kind, who.engine, new) for kind in ("ttft-unloaded", rate, "tpot", rate))


def bench_of(model: ModelFacts, *layouts: Layout) -> Bench:
    """The physics of `model` in `layouts`, one row for each of their entries."""
    machines = [_machine(layout) for layout in layouts]
    subjects = [subject_of(model, lay.engine, lay.accelerator, lay.weight_format) for lay in layouts]
    fitted = [_fitted(subject) for subject in subjects]
    if len(layouts) == 1:
        return Bench(Work.of([model]), machines[0], fitted[0], calibration().sharpness)
    rows = np.repeat(np.arange(len(layouts)), [layout.tp.shape[0] for layout in layouts])
    parameters = [np.concatenate([getattr(p, name) for p in fitted])[rows][:, None] for name in PARAMETERS]
    machine = [np.concatenate([getattr(m, field.name) for m in machines]) for field in fields(Machine)]
    return Bench(Work.of([model]), Machine(*machine), Parameters(*parameters), calibration().sharpness)


def _machine(layout: Layout) -> Machine:
    ranks = (layout.tp, layout.pp, layout.batched_tokens, layout.threads, np.ones_like(layout.tp))
    shape = Shape(*(array.astype(np.float64) for array in ranks))
    return machine_of(layout.accelerator, Formats(layout.engine, layout.weight_format, layout.kv_format), shape)


@lru_cache(maxsize=4096)
def _fitted(subject: Subject) -> Parameters:
    """The parameters of one subject."""
    return calibration().parameters([subject])
