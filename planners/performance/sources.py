"""How fast layouts of a model run: the best source that knows each, with its spread and its evidence class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planners.performance.calibration import Subject, calibration, family, traits
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
    """One engine, format and accelerator with many ways to lay the model out; arrays of equal length.

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
    """Predictions for the rows of a layout. A 90 % interval is value * exp(±1.645 * sd)."""

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


def speeds(model: ModelFacts, layout: Layout) -> Speeds:
    """Predicted speeds of `model` in `layout`.

    Raises:
        ValueError: if the layout names an unknown format.
    """
    bench = bench_of(model, layout)
    batch = layout.batch.astype(np.float64)
    length = np.full_like(batch, layout.input_tokens)
    output = np.full_like(batch, layout.output_tokens)
    alone = bench.first_token(np.ones_like(batch), length)
    steady = continuous(bench, batch, length, output)
    spread = _spread(layout)
    return Speeds(
        ttft_ms=alone * 1e3,
        prefill_tok_s=length / bench.prefill(np.ones_like(batch), length),
        tpot_ms=steady.tpot * 1e3,
        output_tok_s=steady.output,
        ttft_log_sd=np.full_like(batch, spread["ttft"]),
        prefill_log_sd=np.full_like(batch, spread["prefill"]),
        tpot_log_sd=np.full_like(batch, spread["tpot"]),
        output_log_sd=np.full_like(batch, spread["output"]),
        evidence=Evidence.CALIBRATED,
    )


def _spread(layout: Layout) -> dict[str, float]:
    """Standard deviations of logarithms by metric, as held-out rows of the engine's class had them."""
    known, engine = calibration().spread, layout.engine.partition("/")[0]
    rate = "throughput-kernel" if has_kernels(engine, layout.accelerator.key) else "throughput-elsewhere"
    kinds = {"ttft": "ttft-unloaded", "prefill": rate, "tpot": "tpot", "output": rate}
    return {name: known.get(f"{kind}|{engine}", known[kind]) for name, kind in kinds.items()}


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
    return Bench(Work.of([model]), machine, known.parameters([subject]), known.sharpness)
