"""How fast layouts of a model run: the best source that knows each, with its spread and its evidence class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planners.performance.calibration import Subject, calibration, family, traits
from planners.performance.formats import kv_bytes, weight_format
from planners.performance.physics import Bench, Machine
from planners.performance.service import continuous
from planners.performance.work import Work
from schemas.evidence import Evidence
from schemas.hardware import Accelerator, AcceleratorKind
from schemas.model import ModelFacts

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_UBATCH = 512.0
"""llama.cpp's default physical batch (`--ubatch-size`)."""


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
    spread = calibration().spread
    return Speeds(
        ttft_ms=alone * 1e3,
        prefill_tok_s=length / alone,
        tpot_ms=steady.tpot * 1e3,
        output_tok_s=steady.output,
        ttft_log_sd=np.full_like(batch, spread["ttft"]),
        prefill_log_sd=np.full_like(batch, spread["prefill"]),
        tpot_log_sd=np.full_like(batch, spread["tpot"]),
        output_log_sd=np.full_like(batch, spread["output"]),
        evidence=Evidence.CALIBRATED,
    )


def subject_of(model: ModelFacts, engine: str, accelerator: Accelerator, weight: str) -> Subject:
    """The names under which the fitted effects of a layout are kept."""
    name, _, variant = engine.partition("/")
    return Subject(name, variant, family(accelerator), weight_format(weight).group, accelerator.key, traits(model))


def bench_of(model: ModelFacts, layout: Layout) -> Bench:
    """The physics of `model` in `layout`, one row for each of its entries."""
    subject = subject_of(model, layout.engine, layout.accelerator, layout.weight_format)
    known = calibration()
    return Bench(Work.of([model]), _machine(layout), known.parameters([subject]), known.sharpness)


def _machine(layout: Layout) -> Machine:
    """The machine's rows: published rates, cut to the threads in use on a CPU."""
    device = layout.accelerator
    tp, pp = layout.tp.astype(np.float64), layout.pp.astype(np.float64)
    chunk = layout.batched_tokens.astype(np.float64)
    if layout.engine.partition("/")[0] == "llama.cpp":
        chunk = np.minimum(chunk, _UBATCH)
    streams, share = thread_shares(device, layout.threads.astype(np.float64))
    kind = weight_format(layout.weight_format)
    one = np.ones_like(tp)
    return Machine(
        bandwidth=device.bandwidth_gbs * 1e9 * streams,
        peak=peak_flops(device, kind.compute) * share,
        link=one * max(device.link_gbs, 16.0) * 1e9,
        memory=one * device.memory_gb * 1e9,
        weight=one * kind.bits / 8,
        cell=one * kv_bytes(layout.kv_format),
        tp=tp,
        pp=pp,
        chunk=np.maximum(chunk, 1.0),
    )


def peak_flops(device: Accelerator, compute: str) -> float:
    """FLOP/s of the arithmetic a format runs in; the next wider one where the device lacks it."""
    order = {"fp4": ("fp4", "fp8", "bf16", "fp32"), "fp8": ("fp8", "bf16", "fp32"), "int8": ("int8", "bf16", "fp32")}
    for name in order.get(compute, (compute, "bf16", "fp16", "fp32")):
        if name in device.tflops:
            return device.tflops[name] * 1e12
    return max(device.tflops.values()) * 1e12


def thread_shares(device: Accelerator, threads: Floats) -> tuple[Floats, Floats]:
    """Shares of a CPU's bandwidth and arithmetic that `threads` reach; ones elsewhere.

    Arithmetic grows with cores; bandwidth is nearly reached by a quarter of them (STREAM on desktop parts). A feature
    `cores=N` names the cores behind the published rates.
    """
    cores = next((float(name[6:]) for name in device.features if name.startswith("cores=")), 0.0)
    if device.kind is not AcceleratorKind.CPU or cores == 0:
        return np.ones_like(threads), np.ones_like(threads)
    used = np.clip(threads / cores, 1 / cores, 1.0)
    streams = np.minimum(1.0, np.maximum(used * 4, 0.5 * (cores <= 2)))  # noqa: PLR2004 - two cores share one channel
    return streams, used
