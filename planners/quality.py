"""What a weight or KV format costs in quality, before it is measured: model and format -> relative loss, interval.

The logarithm of the relative rise of perplexity falls in proportion to the bits per weight and to the logarithm of the
model's size, with an effect of the scheme (how the bits are chosen) and of the model's family (how much its training
filled its weights). `benchmarks/fit.py` fits the coefficients to published measurements.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from planners.performance.formats import weight_format
from schemas.evidence import Estimate, Evidence
from schemas.model import ModelFacts

_REFERENCE_BITS = 4.5
_REFERENCE_PARAMETERS = 8e9
_INTERVAL = 1.645
_SUPERBLOCK = 256
_FALLBACK = {"Q6_K": "Q8_0", "Q5_K": "Q5_1", "Q4_K": "Q5_0", "Q3_K": "Q4_0", "Q2_K": "Q4_0", "IQ4_XS": "IQ4_NL"}
"""Types llama.cpp takes for rows that are no multiple of 256 (`llama_model_quantize`)."""


@dataclass(frozen=True)
class QualityModel:
    """Coefficients of the logarithm of the relative loss, and what is left over."""

    base: float
    bits: float
    size: float
    importance: float
    scheme: dict[str, float]
    format: dict[str, float]
    family: dict[str, float]
    metric: dict[str, float]
    kv: dict[str, float]
    spread: float
    floor: float
    """Standard deviation of measured losses at no true loss."""

    def relative(self, scheme: str, bits: float, model: ModelFacts, *, importance: bool = False) -> float:
        """Expected relative rise of perplexity of `model` in `bits` bits of `scheme`."""
        log = self.base + self.scheme.get(scheme, 0.0) + self.family.get(model_family(model.name), 0.0)
        log += self.bits * (bits - _REFERENCE_BITS)
        log += self.size * math.log(model.parameters / _REFERENCE_PARAMETERS)
        return math.exp(log + (self.importance if importance else 0.0))


@cache
def quality_model() -> QualityModel:
    """The shipped coefficients."""
    return QualityModel(**json.loads(files("planners").joinpath("data/quality.json").read_text(encoding="utf-8")))


def loss(
    model: ModelFacts, weight_format: str, *, importance_matrix: bool = False, kv_format: str = "FP16"
) -> Estimate:
    """Relative rise of perplexity of `model` in `weight_format` with its cache in `kv_format`.

    Raises:
        ValueError: if the weight format is not known.
    """
    known = quality_model()
    name = effective_format(model, weight_format)
    value = known.kv.get(kv_format, 0.0)
    scheme = scheme_of(name)
    if scheme != "none":
        value += known.relative(scheme, _bits(name), model, importance=importance_matrix) * math.exp(
            known.format.get(name, 0.0)
        )
    sd = known.spread if scheme != "none" else 0.0
    half = _INTERVAL * known.floor if value > 0 else 0.0
    return Estimate(
        value=value,
        low=value * math.exp(-_INTERVAL * sd) - half,
        high=value * math.exp(_INTERVAL * sd) + half,
        unit="relative",
        evidence=Evidence.CALIBRATED,
        source="planners/data/quality.json",
    )


def effective_format(model: ModelFacts, name: str) -> str:
    """The format most tensors really get: superblock types need rows that are a multiple of 256."""
    if model.hidden % _SUPERBLOCK == 0:
        return name
    return next((other for kind, other in _FALLBACK.items() if name.startswith(kind)), name)


def scheme_of(name: str) -> str:
    """How a format chooses its bits; `none` where it keeps 16 of them or more."""
    kind = weight_format(name)
    by_group = {"gguf-k": "k-quant", "gguf-iq": "i-quant", "gguf-iq4": "i-quant", "nf4": "nf4", "w8": "int8"}
    by_name = {"GPTQ-INT4": "gptq", "AWQ-INT4": "awq", "INT4": "rtn", "W8A8": "smoothquant", "W4A8": "w4a8"}
    if kind.bits >= 16:  # noqa: PLR2004 - half precision is the baseline
        return "none"
    if kind.group == "gguf-legacy":
        return "gguf-affine" if name.endswith("_1") else "gguf-symmetric"
    return by_name.get(name) or by_group.get(kind.group) or name.lower()


def model_family(name: str) -> str:
    """The family whose robustness to quantization a model shares."""
    text = name.lower().replace(" ", "-").replace("_", "-")
    order: tuple[str, ...] = (
        "llama-3",
        "llama3",
        "codellama",
        "llama-2",
        "llama2",
        "mixtral",
        "mistral",
        "qwen3",
        "qwen2.5",
        "qwen2",
    )
    order += ("qwen", "gemma", "phi", "falcon", "yi", "deepseek", "command", "smollm", "llama", "vicuna")
    found = next((key for key in order if key in text), "other")
    return {"llama3": "llama-3", "llama2": "llama-2", "codellama": "llama-2", "vicuna": "llama"}.get(found, found)


def _bits(name: str) -> float:
    return weight_format(name).bits
