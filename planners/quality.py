"""What a weight or KV format costs in quality, before it is measured: model and format -> relative loss, interval.

The logarithm of the relative rise of perplexity falls with the bits per weight (a parabola) and the logarithm of the
model's size, and rises with that of the tokens it was trained on for each parameter: how full its training left its
weights (arXiv 2411.04330). The scheme, the group, activations and the model's family have effects. A task's score loses
a share of that, and no more than chance leaves. `benchmarks/fit_quality.py` fits the coefficients to published
measurements.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from planners.methods import Method, gguf_scheme
from planners.metrics import PERPLEXITY, metric_kind
from planners.performance.formats import weight_format as format_called
from planners.tables import table, words
from schemas.evidence import Estimate, Evidence
from schemas.model import ModelFacts

REFERENCE_BITS = 4.5
FAR = 0.05
"""Losses beyond this are far from any limit that is asked for."""
_REFERENCE_PARAMETERS = 8e9
_REFERENCE_TOKENS = 300
"""Training tokens a parameter that a model is taken to have had whose makers do not say."""
_INTERVAL = 1.645
_BASELINE_BITS = 16
_FEW_BITS = 4
_LARGEST_LOG = 4.0


class Build(NamedTuple):
    """What of a model its loss depends on, as logarithms: parameters over 8e9, training tokens a parameter over 300."""

    size: float
    tokens: float


@dataclass(frozen=True)
class QualityModel:
    """Coefficients of the logarithm of the relative loss, and what is left over."""

    base: float
    bits: float
    curve: float
    size: float
    tokens: float
    effects: dict[str, float]
    kv: dict[str, float]
    saturation: float
    """Largest relative loss of a task's score: chance is what is left."""
    spread: dict[str, tuple[float, float]]
    """Standard deviations of the logarithm by kind of metric: of losses up to `FAR`, and beyond, where some fail."""
    floor: dict[str, float]
    """Standard deviation of a measured loss where there is no true one, by kind of metric."""

    def loss(self, keys: tuple[str, ...], bits: float, build: Build, metric: str) -> float:
        """Expected relative loss by `metric`; `keys` name effects."""
        over = bits - REFERENCE_BITS
        log = self.base + self.bits * over + self.curve * over * over
        log += self.size * build.size + self.tokens * build.tokens
        rise = math.exp(min(log + sum(self.effects.get(key, 0.0) for key in keys), _LARGEST_LOG))
        if metric == PERPLEXITY:
            return rise
        return self.saturation * -math.expm1(-rise / self.saturation)

    def interval(self, value: float, metric: str) -> tuple[float, float]:
        """Both ends of the 90 % interval of a measured loss of which `value` is expected."""
        kind = metric_kind(metric)
        half = _INTERVAL * self.floor[kind] if value > 0 else 0.0
        factor = math.exp(_INTERVAL * self.spread[kind][value > FAR])
        return value / factor - half, value * factor + half


@cache
def quality_model() -> QualityModel:
    """The shipped coefficients."""
    return QualityModel(**json.loads(files("planners").joinpath("data/quality.json").read_text(encoding="utf-8")))


@cache
def _trained() -> dict[str, dict[str, str]]:
    return {name: row for row in table("training") for name in words(row["models"])}


def build_of(model: ModelFacts) -> Build:
    """A model's size and training on the scales of the fit."""
    row = _trained().get(model.name)
    per_parameter = float(row["tokens_t"]) * 1e12 / model.parameters if row else _REFERENCE_TOKENS
    return Build(math.log(model.parameters / _REFERENCE_PARAMETERS), math.log(per_parameter / _REFERENCE_TOKENS))


def effect_keys(method: Method, model: ModelFacts, metric: str) -> tuple[str, ...]:
    """Names of the effects that a method has on a model under a metric."""
    family = model_family(model.name)
    keys = [f"scheme={method.scheme}", f"family={family}", f"metric={metric}"]
    if method.group == 0:
        keys += ["group=channel", f"scheme={method.scheme}|group=channel"]
        outliers = bool(_trained().get(model.name, {}).get("outlier_channels")) and method.scheme != "fp8"
        keys += ["trait=outlier-channels"] * outliers  # a float's exponent takes in what a step of integers rounds away
    if method.activation_bits < _BASELINE_BITS:
        keys += [
            f"activations={method.activation_bits}",
            f"scheme={method.scheme}|activations={method.activation_bits}",
        ]
    if method.kv_bits < _BASELINE_BITS:
        keys.append(f"kv={method.kv_bits}")
    if method.activation_bits <= _FEW_BITS and metric != PERPLEXITY:
        keys.append("task|activations=4")
    keys += ["importance"] * method.importance
    if method.tuned:
        keys += ["tuned", f"{method.scheme}|tuned"]
    if model.experts is not None:
        keys.append("trait=moe")
    return tuple(keys)


def predicted(method: Method, model: ModelFacts, metric: str) -> Estimate:
    """Relative loss of `model` stored by `method`, as `metric` shows it."""
    known = quality_model()
    value = known.loss(effect_keys(method, model, metric), method.bits, build_of(model), metric)
    return _estimate(value, known, metric)


def loss(
    model: ModelFacts, weight_format: str, *, importance_matrix: bool = False, kv_format: str = "FP16"
) -> Estimate:
    """Relative rise of perplexity of `model` in `weight_format` with its cache in `kv_format`.

    Raises:
        ValueError: if the weight format is not known.
    """
    known = quality_model()
    method = method_for(weight_format, importance_matrix=importance_matrix)
    value = known.kv.get(kv_format, 0.0)
    if method is not None:
        keys = effect_keys(method, model, PERPLEXITY)
        value += known.loss(keys, method.bits, build_of(model), PERPLEXITY)
    return _estimate(value, known, PERPLEXITY)


def _estimate(value: float, known: QualityModel, metric: str) -> Estimate:
    low, high = known.interval(value, metric)
    source = "planners/data/quality.json"
    return Estimate(value=value, low=low, high=high, unit="relative", evidence=Evidence.CALIBRATED, source=source)


def method_for(name: str, *, importance_matrix: bool = False) -> Method | None:
    """The method behind a weight format of ours; None where it keeps 16 bits or more."""
    kind = format_called(name)
    if kind.bits >= _BASELINE_BITS:
        return None
    by_name = {
        "GPTQ-INT4": Method("gptq", 4.0),
        "AWQ-INT4": Method("awq", 4.0),
        "INT4": Method("rtn", 4.0),
        "NF4": Method("nf4", 4.0),
        "INT8": Method("int8", 8.0, 0),
        "BNB-INT8": Method("int8", 8.0, 0),
        "W8A8": Method("smoothquant", 8.0, 0, 8),
        "W4A8": Method("awq", 4.0, 128, 8),
        "FP8": Method("fp8", 8.0, 0, 8),
        "NVFP4": Method("nvfp4", 4.0, 32),
        "MXFP4": Method("mxfp4", 4.0, 32),
        "SPARSE24-BF16": Method("sparse24", REFERENCE_BITS),
        "SPARSE24-FP8": Method("sparse24", REFERENCE_BITS, 128, 8),
    }
    if name in by_name:
        return by_name[name]
    scheme = gguf_scheme(name.lower()) if kind.group.startswith("gguf") else name.lower()
    return Method(scheme, kind.bits, 32, importance=importance_matrix)


def model_family(name: str) -> str:
    """The family whose robustness to quantization a model shares."""
    text = name.lower().replace(" ", "-").replace("_", "-")
    order: tuple[str, ...] = ("codellama", "llama-2", "llama2", "llama-1", "llama-3", "llama3", "mixtral", "mistral")
    order += ("qwen", "gemma", "phi", "falcon", "yi", "deepseek", "command", "smollm", "llama", "vicuna")
    found = next((key for key in order if key in text), "other")
    renamed = {
        "llama3": "llama-3",
        "llama2": "llama-2",
        "codellama": "llama-2",
        "vicuna": "llama-1",
        "llama": "llama-1",
    }
    return renamed.get(found, found)
