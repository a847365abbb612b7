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
    "fp4": ("fp4", "bf16", "fp32"),
    "fp8": ("fp8", "bf16", "fp32"),
    "int8": ("int8", "bf16", "fp32"),
    "bf16": ("bf16", "fp32"),
    "fp32": ("fp32", "bf16"),
}
_HALF_SUMS = frozenset({"llama.cpp", "ik_llama.cpp", "exllama", "exllamav2", "ctransformers"})
"""Engines that sum products in half precision or multiply integers, which GeForce cards do at full rate (half the
published integer rate): NVIDIA GA102 and Ada whitepapers halve only half precision with sums in FP32."""
_RESERVED = {"tensorrt-llm": 1.0}
"""Share of an answer for which room must be free: TensorRT-LLM's default policy, guaranteed no eviction, keeps all."""
_RESERVED_ELSEWHERE = 0.6
"""Others evict when they run out: a little above the half that sequences of all ages hold on average."""
_TFLOPS_PER_WATT = 1.4
"""Dense half-precision rate of an H100 SXM over its power: where `_POWER_EXPONENTS` leave the rate as published."""
_POWER_EXPONENTS = (0.7, 1 / 3)
"""The clock as a power of the power limit, below and above that rate. Above, dynamic power goes as frequency times
voltage squared; below, voltage hardly falls any more: H200 limited to 500 and 350 of 700 W do 0.79 and 0.65 of the
requests (MLPerf 4.1, `_MaxQ`)."""
_BEAMED = 150.0
"""Beams look each key up in a table of parents, without matrix units. GPT-J with four beams in MLPerf 4.1 leaves 140 to
160 times a matrix product's time for it on H100 SXM, PCIe, NVL and L40S; half and twice as much fit about as well."""
_CORE_GBS = 32.0
"""What one core of a client or server processor reads a second at the most (STREAM with one thread: 20 to 40 GB/s)."""


@dataclass(frozen=True)
class Formats:
    """Who computes in what: the names that fix rates and sizes."""

    engine: str
    weight: str
    kv: str


@dataclass(frozen=True)
class Shape:
    """How a model is laid out; arrays of equal length. `chunk` in tokens, `dealt` as in `Machine`."""

    tp: Floats
    pp: Floats
    chunk: Floats
    threads: Floats
    dealt: Floats


def machine_of(device: Accelerator, names: Formats, shape: Shape) -> Machine:
    """The machine's rows: published rates, cut to the threads in use on a CPU."""
    base = names.engine.partition("/")[0]
    split_rows = base in {"llama.cpp", "ik_llama.cpp"}
    chunk = np.minimum(shape.chunk, _UBATCH) if split_rows else shape.chunk
    streams, share = thread_shares(device, shape.threads)
    kind = weight_format(names.weight)
    one = np.ones_like(shape.tp)
    return Machine(
        bandwidth=device.bandwidth_gbs * 1e9 * streams,
        peak=sustained_flops(device, names) * share,
        link=one * max(device.link_gbs, _HOST_LINK_GBS) * 1e9,
        memory=one * device.memory_gb * 1e9,
        weight=one * kind.bits / 8,
        cell=one * kv_bytes(names.kv),
        starts=shape.tp / 2 if split_rows else one,
        tp=shape.tp,
        pp=shape.pp,
        chunk=np.maximum(chunk, 1.0),
        reserved=one * _RESERVED.get(base, _RESERVED_ELSEWHERE),
        beamed=one * (_BEAMED if device.kind is AcceleratorKind.GPU else 1.0),
        dealt=shape.dealt,
    )


def sustained_flops(device: Accelerator, names: Formats) -> float:
    """FLOP/s a format's arithmetic reaches before efficiencies: the published rate, what engines make of it, power."""
    peak = peak_flops(device, weight_format(names.weight).compute)
    half = device.tflops.get("int8", 0.0) / 2 * 1e12
    if names.engine.partition("/")[0] in _HALF_SUMS and device.vendor == "nvidia" and half > peak:
        peak = half
    if device.kind is AcceleratorKind.GPU and device.power_w > 0:
        share = device.power_w * _TFLOPS_PER_WATT / device.tflops["bf16"]
        peak *= share ** _POWER_EXPONENTS[share > 1]
    return peak


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
    used = np.where(threads > 0, np.clip(threads, 1.0, cores), cores)
    return np.minimum(1.0, used * _CORE_GBS / device.bandwidth_gbs), used / cores
