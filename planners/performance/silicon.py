"""Conditions in, tables of measured kernels out, where aiconfigurator-core is installed and knows the combination.

The package is optional (extra `silicon`) and asked only here. Its times are of kernels and links alone: host work,
queueing and batching come on top of them as they do on top of our own physics, with a calibration of their own.
"""

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Protocol, cast

from planners.catalog import find_model
from planners.performance.calibration import SLOW_LINK_GBS, build_of
from planners.performance.kernels import POINTS, Kernels
from planners.performance.published import Condition, Metric
from planners.tables import table


class _Handle(Protocol):
    """What is used of `aiconfigurator_core.sdk.EngineHandle`; milliseconds."""

    def predict_prefill_latency(self, bs: int, isl: int) -> float:
        """A pass over `bs` prompts of `isl` tokens."""

    def predict_decode_latency(self, bs: int, isl: int, osl: int) -> float:
        """A step of `bs` sequences."""


class _Compiler(Protocol):
    def compile(self, model_path: str, system: str, backend: str, **options: object) -> _Handle:
        """A handle for one model on one system."""


_BACKENDS = {"tensorrt-llm": "trtllm", "vllm": "vllm"}
_SYSTEMS = {
    "A100-SXM-80GB": "a100_sxm",
    "H100-SXM": "h100_sxm",
    "H200-SXM": "h200_sxm",
    "B200": "b200_sxm",
    "B300": "b300_sxm",
    "GB200": "gb200",
    "L40S": "l40s",
    "GH200": "h200_sxm",
}
_MODES = {
    "BF16": "bfloat16",
    "FP16": "bfloat16",
    "FP8": "fp8",
    "NVFP4": "nvfp4",
    "AWQ-INT4": "int4_wo",
    "GPTQ-INT4": "int4_wo",
    "INT8": "int8_wo",
    "W8A8": "sq",
}
_PASS_TOKENS = 8192
_Key = tuple[str, str, str, int, str, str]
"""Path, system, back end, tensor parallelism, arithmetic, KV format."""


@cache
def available() -> bool:
    """Whether the database is installed."""
    return importlib.util.find_spec("aiconfigurator_core") is not None


@cache
def _paths() -> dict[str, str]:
    """Models' shapes to the configurations that the database ships."""
    return {build_of(find_model(row["model"])): row["path"] for row in table("silicon_models")}


def kernels_of(cases: list[Condition]) -> Kernels:
    """The tables of `cases`; rows that the database does not know are NaN."""
    found = Kernels.unknown(len(cases))
    if not available():
        return found
    with _quiet():
        for row, case in enumerate(cases):
            if not _known(case):
                continue
            times = _times(_key(case), max(round(case.length), 1), max(round(case.length + case.output / 2), 1))
            if times is not None:
                found.steps[row], found.prompt[row], found.more[row] = times
    return found


@lru_cache(maxsize=65536)
def _times(key: _Key, length: int, context: int) -> tuple[tuple[float, ...], float, float] | None:
    """Seconds of steps at each point, of one prompt, and of each more; None where the database fails."""
    handle = _handle(key)
    if handle is None:
        return None
    more = max(2, _PASS_TOKENS // length)
    try:
        steps = tuple(handle.predict_decode_latency(int(point), context, 2) / 1e3 for point in POINTS)
        one = handle.predict_prefill_latency(1, length) / 1e3
        many = handle.predict_prefill_latency(more, length) / 1e3
    except Exception:  # noqa: BLE001 - whatever a foreign table lacks, our physics answers
        return None
    return steps, one, max(many - one, 0.0) / (more - 1)


def _known(case: Condition) -> bool:
    """Whether to ask at all: where held-out rows came out nearer by kernels than by our own physics.

    That is decoding and throughput of TensorRT-LLM and vLLM; not first tokens, which queueing rules, nor saturated
    mixtures of experts, whose routing the tables idealise; nor links other than the system's own.
    """
    saturated = case.metric is not Metric.TPOT and case.model.experts is not None
    slow = case.tp > 1 and case.accelerator.link_gbs <= SLOW_LINK_GBS and case.accelerator.key != "L40S"
    return (
        case.metric is not Metric.TTFT
        and not saturated
        and not slow
        and not case.engine.endswith("/2023")
        and case.engine.partition("/")[0] in _BACKENDS
        and case.accelerator.key in _SYSTEMS
        and build_of(case.model) in _paths()
        and (case.weight_format in _MODES or case.model.native_format == case.weight_format)
    )


def _key(case: Condition) -> _Key:
    return (
        _paths()[build_of(case.model)],
        _SYSTEMS[case.accelerator.key],
        _BACKENDS[case.engine.partition("/")[0]],
        case.tp,
        _MODES.get(case.weight_format, ""),
        case.kv_format,
    )


@cache
def _handle(key: _Key) -> _Handle | None:
    """A compiled engine; None where the database lacks it."""
    path, system, backend, tp, mode, cache_format = key
    compiler = cast("_Compiler", importlib.import_module("aiconfigurator_core.sdk").EngineHandle)
    stored = "fp8" if cache_format == "FP8" else "bfloat16"
    for given in _arithmetic(mode, stored):
        for layout in ({"moe_tp_size": tp, "moe_ep_size": 1}, {"moe_tp_size": 1, "moe_ep_size": tp}):
            try:
                handle = compiler.compile(path, system, backend, tp_size=tp, **layout, **given)
                handle.predict_decode_latency(1, 128, 2)
                handle.predict_prefill_latency(1, 128)
            except Exception:  # noqa: BLE001, S112 - any failure of the optional database means that it does not know
                continue
            return handle
    return None


def _arithmetic(mode: str, stored: str) -> list[dict[str, str]]:
    """Options to try in turn: how matrices and experts are multiplied, what the cache holds.

    A checkpoint in MXFP4 is multiplied with MXFP8 activations where the tables have that (Blackwell), else unpacked.
    """
    if not mode:
        return [{"moe_quant_mode": "w4a8_mxfp4_mxfp8"}, {}]
    experts = mode if mode in {"fp8", "nvfp4"} else "bfloat16"
    return [
        {"gemm_quant_mode": mode, "moe_quant_mode": experts, "kvcache_quant_mode": stored},
        {"gemm_quant_mode": mode, "moe_quant_mode": "fp8_block" if mode == "fp8" else experts},
        {"gemm_quant_mode": mode},
    ]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the database's warnings off the error stream."""
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:  # noqa: PTH123 - a descriptor is what is wanted
            os.dup2(nothing.fileno(), 2)
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
