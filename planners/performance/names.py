"""Engines and accelerators as benchmarks write them in; ours out, an engine's variant after a slash."""

import contextlib
import re

from planners.catalog import find_hardware
from schemas.error import AgentError, ErrorCode
from schemas.hardware import Accelerator

_ENGINES = (
    (r"ik_llama", "ik_llama.cpp"),
    (r"llama[-.]?cpp|llama-bench|\bggml|ollama|lm studio|koboldcpp|llamafile", "llama.cpp"),
    (r"optimum.?nvidia", "optimum-nvidia"),
    (r"tensorrt|trt|\bnim\b", "tensorrt-llm"),
    (r"vllm", "vllm"),
    (r"sglang", "sglang"),
    (r"text.generation.inference|\btgi\b", "tgi"),
    (r"ipex", "ipex"),
    (r"gemv", "autoawq/gemv"),
    (r"autoawq", "autoawq"),
    (r"autogptq", "autogptq"),
    (r"neuronx?|\bnxd\b", "neuron"),
    (r"lmdeploy|turbomind", "lmdeploy"),
    (r"mlc", "mlc"),
    (r"exllama\s?v2|exllamav2", "exllamav2"),
    (r"exllama", "exllama"),
    (r"ctransformers", "ctransformers"),
    (r"ctranslate", "ctranslate2"),
    (r"deepspeed", "deepspeed"),
    (r"lightning", "lightning"),
    (r"onnx", "onnxruntime"),
    (r"openvino", "openvino"),
    (r"jetstream|maxtext", "jetstream"),
    (r"transformers", "transformers"),
    (r"pytorch", "pytorch"),
)


_GROUPED_KERNELS = 7
"""TensorRT-LLM 0.7 brought decoding kernels for grouped queries; before, each head read its own copy of the cache."""


_NEW_SCHEDULER = 6
"""vLLM 0.6 took the host's work out of the steps: multi-step scheduling, output processed beside the next step."""
_TUNED = frozenset({"tensorrt-llm", "vllm", "pytorch"})
"""Engines whose systems vendors tune for a suite."""
_RECENT = 2025
"""Builds of llama.cpp from before are slower on most GPUs: fewer captured graphs, attention without matrix units."""


_DETAILS = re.compile(r"\b(platinum|gold|instinct|hbm\w*|sxm\d|oam|gddr\w*|nvl\d+|\d+\s?gi?b)\b|\(.*?\)", re.IGNORECASE)
"""What publications write around an accelerator's name that does not tell parts of the catalog apart."""


def accelerator_of(*names: str) -> Accelerator:
    """The accelerator that a publication calls by one of `names`, with or without their details.

    Raises:
        AgentError: `unknown_hardware` for the first name, or where there is none.
    """
    forms = [name for name in names if name.strip()]
    if not forms:
        raise AgentError(ErrorCode.UNKNOWN_HARDWARE, "the row names no accelerator: hw_key is empty")
    for form in [*forms, *(" ".join(re.sub(_DETAILS, " ", name.replace("-", " ")).split()) for name in forms)]:
        with contextlib.suppress(AgentError):
            return find_hardware(form or forms[0])[0].accelerator
    return find_hardware(forms[0])[0].accelerator


def engine_of(framework: str, suite: str = "") -> str:
    """Our name of the engine that a benchmark calls `framework`; systems tuned for a suite are a variant.

    Those that say `upstream` run what everybody can have.
    """
    text = framework.lower()
    name = next((ours for pattern, ours in _ENGINES if re.search(pattern, text)), text.split()[0] if text else "other")
    variant = suite if suite and "upstream" not in text and name in _TUNED else _age_of(name, text)
    return f"{name}/{variant}" if variant else name


def _age_of(name: str, text: str) -> str:
    """The variant that an engine's older releases are, and those that nothing dates; none for what is recent."""
    version, year = re.search(r"(\d+)\.(\d+)", text), re.search(r"\b20\d\d\b", text)
    if name == "llama.cpp":
        dated = year or re.search(r"\bb\d{4,}\b", text)
        return "early" if year and int(year[0]) < _RECENT else "" if dated else "undated"
    if name not in {"tensorrt-llm", "vllm"}:
        return ""
    if version is None:
        return "undated"
    if int(version[1]) > 0:
        return ""
    if name == "tensorrt-llm":
        return "2023" if int(version[2]) < _GROUPED_KERNELS else "static"
    return "early" if int(version[2]) < _NEW_SCHEDULER else ""
