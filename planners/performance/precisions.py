"""A precision as benchmarks write it in; our names of the weight and the KV format out."""

import re

from planners.performance.formats import formats
from schemas.hardware import Accelerator, AcceleratorKind

_GGUF = frozenset({"llama.cpp", "ik_llama.cpp", "ctransformers", "ollama"})
_BITSANDBYTES = frozenset({"transformers", "lightning"})
"""Libraries whose 8-bit weights are those of bitsandbytes."""
_LOW_CACHE = frozenset({"tensorrt-llm", "vllm"})
"""Engines that cache in FP8 where the weights are: NVIDIA's low-precision checkpoints say so, and they follow."""
_FOUR = dict.fromkeys(("vllm", "autoawq", "ipex", "tensorrt-llm", "sglang", "lmdeploy"), "AWQ-INT4")
_FOUR |= dict.fromkeys(("autogptq", "exllama", "exllamav2", "tgi"), "GPTQ-INT4") | dict.fromkeys(_BITSANDBYTES, "NF4")
"""What four bits mean where a row says no more."""
_SPELLED = (
    (r"NVFP4|\bFP4", "NVFP4"),
    (r"MXFP4|\bMX4", "MXFP4"),
    (r"W4A8", "W4A8"),
    (r"W8A8.*FP8|FP8|E4M3|\bF8\b", "FP8"),
    (r"W8A8|SMOOTH|\bSQ\b", "W8A8"),
    (r"\bAWQ", "AWQ-INT4"),
    (r"\bGPTQ(?!.*8)|W4A16|MARLIN|QUANT.?SQUEEZE", "GPTQ-INT4"),
    (r"\bNF4|BNB.?4|BITSANDBYTES.*4", "NF4"),
    (r"LLM\.?INT8|BNB.?8|BITSANDBYTES.*8", "BNB-INT8"),
    (r"BFLOAT|BF16", "BF16"),
    (r"FLOAT32|FP32|TF32|\bF32", "FP32"),
)
"""Formats by how publications spell them, the more particular first."""


def formats_of(precision: str, engine: str, device: Accelerator, model: str) -> tuple[str, str]:
    """Weight and KV format of a published precision, in our names."""
    name = precision.strip().upper().replace(" - SMALL", "_S").replace(" - MEDIUM", "_M").split(" - ")[0].strip()
    base = engine.partition("/")[0]
    if "ACT /" in name:
        name = name.split("/")[-1].strip()
    found = _weight(name, base, device, model)
    low = found in {"FP8", "NVFP4", "W4A8"} and base in _LOW_CACHE
    return found, "FP8" if low or (found == "FP8" and "/mlperf" in engine) else "FP16"


def _weight(name: str, base: str, device: Accelerator, model: str) -> str:
    gguf = base in _GGUF
    half, eight = ("F16", "Q8_0") if gguf else ("FP16", "BNB-INT8" if base in _BITSANDBYTES else "INT8")
    unnamed = "INT8" if device.kind is AcceleratorKind.CPU else "FP8" if "fp8" in device.tflops else "FP16"
    alias = {
        "": unnamed,
        "F16": half,
        "FP16": half,
        "INT8": eight,
        "FP4": "MXFP4" if "oss" in model.lower() else "NVFP4",
    }
    known = {key.upper(): key for key in formats()}
    if found := alias.get(name) or (None if name == "INT4" else known.get(name) or known.get(name.replace("-", "_"))):
        return found
    if not gguf and not re.search(r"I?Q\d", name):
        spelled = next((ours for pattern, ours in _SPELLED if re.search(pattern, name)), None)
        if spelled is not None:
            return spelled
    return _by_bits(name, half, eight, "Q4_K_M" if gguf else _FOUR.get(base, "INT4"), gguf=gguf)


def _by_bits(name: str, half: str, eight: str, four: str, *, gguf: bool) -> str:
    """The format with the nearest number of bits to the one in a name that is not ours; half precision for none."""
    bits = re.search(r"(\d+(?:\.\d+)?)\s*-?\s*(?:BPW|BIT)", name) or re.search(r"(?:INT|W|I?Q|FP|F)_?(\d+)", name)
    if bits is None or float(bits[1]) >= 16:  # noqa: PLR2004 - bits of half precision
        return half
    if float(bits[1]) in {4.0, 8.0} and "BPW" not in name:
        return four if float(bits[1]) < 8 else eight  # noqa: PLR2004 - bits of a byte
    fitting = [kind for kind in formats().values() if kind.group.startswith("gguf") or not gguf]
    return min(fitting, key=lambda kind: (abs(kind.bits - float(bits[1])), kind.name)).name
