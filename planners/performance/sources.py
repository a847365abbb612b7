"""How fast layouts of a model run: the best source that knows each, with its spread and its evidence class."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from planners.performance.calibration import Parameters, Subject, calibration, family, traits
from planners.performance.formats import weight_format
from planners.performance.machines import Formats, Shape, machine_of
from planners.performance.physics import Bench
from planners.performance.published import has_kernels
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
    """Predictions for a layout, in the shape of what they depend on. A 90 % interval is value * exp(±1.645 * sd)."""

    ttft_ms: Floats
    """One prompt on an idle engine."""
    prefill_tok_s: Floats
    """While the engine reads one prompt, without what precedes its start."""
    tpot_ms: Floats
    """At the layout's batch, with the prompts of newcomers in between."""
    output_tok_s: Floats
    """Of one replica at the layout's batch."""
    ttft_log_sd: float
    prefill_log_sd: float
    tpot_log_sd: float
    output_log_sd: float
    evidence: Evidence
    bench: Bench
    """What they were computed with."""


def speeds(model: ModelFacts, layout: Layout) -> Speeds:
    """Predicted speeds of `model` in `layout`.

    Raises:
        ValueError: if the layout names an unknown format.
    """
    bench = bench_of(model, layout)
    batch = layout.batch.astype(np.float64)
    one = np.ones(1)
    length, output = one * layout.input_tokens, one * layout.output_tokens
    alone = bench.first_token(one, length)
    steady = continuous(bench, batch, length, output)
    spread = _spread(model, layout)
    return Speeds(
        ttft_ms=alone * 1e3,
        prefill_tok_s=length / bench.prefill(one, length),
        tpot_ms=steady.tpot * 1e3,
        output_tok_s=steady.output,
        ttft_log_sd=spread["ttft"],
        prefill_log_sd=spread["prefill"],
        tpot_log_sd=spread["tpot"],
        output_log_sd=spread["output"],
        evidence=Evidence.CALIBRATED,
        bench=bench,
    )


def _spread(model: ModelFacts, layout: Layout) -> dict[str, float]:
    """Standard deviations of logarithms by metric, as held-out rows of the engine's class had them."""
    known = calibration()
    who = subject_of(model, layout.engine, layout.accelerator, layout.weight_format)
    new = known.new(model.name, who)
    rate = "throughput-kernel" if has_kernels(who.engine, layout.accelerator.key) else "throughput-elsewhere"
    kinds = {"ttft": "ttft-unloaded", "prefill": rate, "tpot": "tpot", "output": rate}
    return {name: known.deviation(kind, who.engine, new) for name, kind in kinds.items()}


def subject_of(model: ModelFacts, engine: str, accelerator: Accelerator, weight: str) -> Subject:
    """The names under which the fitted effects of a layout are kept."""
    name, _, variant = engine.partition("/")
    return Subject(
        name, variant, family(accelerator), weight_format(weight).group, accelerator.key, traits(model, accelerator)
    )


def bench_of(model: ModelFacts, layout: Layout) -> Bench:
    """The physics of `model` in `layout`, one row for each of its entries."""
    subject = subject_of(model, layout.engine, layout.accelerator, layout.weight_format)
    known = calibration()
    shape = Shape(
        *(array.astype(np.float64) for array in (layout.tp, layout.pp, layout.batched_tokens, layout.threads))
    )
    names = Formats(layout.engine, layout.weight_format, layout.kv_format)
    machine = machine_of(layout.accelerator, names, shape)
    return Bench(Work.of([model]), machine, _fitted(subject), known.sharpness)


@lru_cache(maxsize=4096)
def _fitted(subject: Subject) -> Parameters:
    """The parameters of one subject."""
    return calibration().parameters([subject])
