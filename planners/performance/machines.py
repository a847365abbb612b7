"""A device and a layout's formats in, the rates and sizes the physics divides by out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planners.performance.formats import kv_bytes, weight_format
from planners.performance.physics import Machine
from schemas.hardware import Accelerator, AcceleratorKind

Floats = NDArray[np.float64]

_UBATCH = 512.0
"""llama.cpp's default physical batch (`--ubatch-size`)."""
_HOST_LINK_GBS = 16.0
_WIDER = {
    "fp4": ("fp4", "fp8", "bf16", "fp32"),
    "fp8": ("fp8", "bf16", "fp32"),
    "int8": ("int8", "bf16", "fp32"),
    "bf16": ("bf16", "fp32"),
    "fp32": ("fp32", "bf16"),
}
_SATURATING_SHARE = 0.25
"""Share of a CPU's cores that nearly reach its memory bandwidth (STREAM on desktop parts)."""


@dataclass(frozen=True)
class Formats:
    """Who computes in what: the names that fix rates and sizes."""

    engine: str
    weight: str
    kv: str


@dataclass(frozen=True)
class Shape:
    """How a model is laid out; arrays of equal length. `chunk` in tokens."""

    tp: Floats
    pp: Floats
    chunk: Floats
    threads: Floats


def machine_of(device: Accelerator, names: Formats, shape: Shape) -> Machine:
    """The machine's rows: published rates, cut to the threads in use on a CPU."""
    chunk = shape.chunk
    if names.engine.partition("/")[0] in {"llama.cpp", "ik_llama.cpp"}:
        chunk = np.minimum(chunk, _UBATCH)
    streams, share = thread_shares(device, shape.threads)
    kind = weight_format(names.weight)
    one = np.ones_like(shape.tp)
    return Machine(
        bandwidth=device.bandwidth_gbs * 1e9 * streams,
        peak=peak_flops(device, kind.compute) * share,
        link=one * max(device.link_gbs, _HOST_LINK_GBS) * 1e9,
        memory=one * device.memory_gb * 1e9,
        weight=one * kind.bits / 8,
        cell=one * kv_bytes(names.kv),
        tp=shape.tp,
        pp=shape.pp,
        chunk=np.maximum(chunk, 1.0),
    )


def peak_flops(device: Accelerator, compute: str) -> float:
    """FLOP/s of the arithmetic a format runs in; of the next wider one where the device lacks it."""
    for name in _WIDER[compute]:
        if name in device.tflops:
            return device.tflops[name] * 1e12
    return max(device.tflops.values()) * 1e12


def cores_of(device: Accelerator) -> int:
    """Cores behind a CPU's published rates: its feature `cores=N`; 0 where it names none."""
    return next((int(name[6:]) for name in device.features if name.startswith("cores=")), 0)


def thread_shares(device: Accelerator, threads: Floats) -> tuple[Floats, Floats]:
    """Shares of a CPU's bandwidth and arithmetic that `threads` reach; ones elsewhere and for no stated threads."""
    cores = cores_of(device)
    if device.kind is not AcceleratorKind.CPU or cores == 0:
        return np.ones_like(threads), np.ones_like(threads)
    used = np.where(threads > 0, np.clip(threads / cores, 1 / cores, 1.0), 1.0)
    return np.minimum(1.0, 0.3 + 0.7 * np.minimum(used / _SATURATING_SHARE, 1.0)), used
