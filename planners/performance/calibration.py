"""Fitted efficiencies: who runs what on which machine -> parameters of the physics, each a sum of logarithmic effects.

A parameter's logarithm is its base plus the effects of the engine, the accelerator's family, the format's group, their
pairs, the accelerator itself, traits of the model, and the engine with that very model and accelerator. An effect that
was never observed is zero, so that an unseen accelerator inherits its family's behaviour. `benchmarks/fit.py` writes
the values and their residuals.
"""

import json
import math
import re
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planners.performance.formats import weight_format
from schemas.hardware import Accelerator, AcceleratorKind
from schemas.model import Attention, ModelFacts

Floats = NDArray[np.float64]

SLOW_LINK_GBS = 64.0
"""PCIe and slower: all-reduces go through the host."""

_FAMILIES = (
    (r"a100|a800|a30\b", "ampere"),
    (r"rtx.?30|rtx.?a\d|a6000|a10g?\b|a40\b|orin|jetson", "ampere-graphics"),
    (r"\bl40s?\b|\bl4\b|rtx.?40|ada", "ada"),
    (r"gh200|h100|h200|h800|h20\b", "hopper"),
    (r"b200|b300|gb200|gb300", "blackwell"),
    (r"rtx.?50|rtx.?pro|gb10\b", "blackwell-graphics"),
    (r"mi\d{3}", "cdna"),
    (r"rx.?\d{4}", "rdna"),
    (r"inf|trn|trainium", "neuron"),
    (r"tpu", "tpu"),
    (r"arc|b60|battlemage", "xe"),
)


@dataclass(frozen=True)
class Parameters:
    """What the physics is multiplied with, one value for all rows or one a row; efficiencies are fractions."""

    bandwidth: Floats
    """Of the memory's published bandwidth when weights are streamed."""
    cache: Floats
    """Of the memory's published bandwidth when the KV cache is read."""
    prefill: Floats
    """Of the published arithmetic rate in prompts."""
    decode: Floats
    """Of the published arithmetic rate in decoding, where a few rows meet large matrices."""
    layer_us: Floats
    """Microseconds a layer costs beyond its traffic and arithmetic: launches, normalisation, small kernels."""
    step_us: Floats
    """Microseconds a step costs the host: scheduling, sampling, detokenising."""
    sequence_us: Floats
    """Microseconds of a step for each sequence in it."""
    reduce_us: Floats
    """Microseconds to start one all-reduce among tensor-parallel ranks."""
    link: Floats
    """Of the published link bandwidth in all-reduces."""
    first_us: Floats
    """Microseconds between a request and the start of its prompt on an idle server."""
    client_us: Floats
    """Microseconds that clients, network and scheduler add to the first token of a server under load."""
    eager_us: Floats
    """Microseconds a layer costs in a pass over prompts, which engines do not capture into graphs."""
    read_us: Floats
    """Microseconds the host takes for each prompt token: tokenising, copying, filling block tables."""
    kernel_step: Floats
    """A decoding step over its measured kernels."""
    kernel_prompt: Floats
    """A pass over prompts over its measured kernels."""
    stagger: Floats
    """How many prompts a new request waits for on a loaded server, for one other request and answers of 512 tokens."""
    crowd: Floats
    """First tokens of a loaded server, over what prompts ahead, steps and the client's work come to."""
    fill: Floats
    """Sequences in flight on a saturated server, as a share of what memory and limits allow."""
    load: Floats
    """Sequences that a tuned server admits, as a share of those at which it would just miss its latency limit."""
    ttft_tail: Floats
    """99th percentile over median of the time to the first token under Poisson arrivals."""
    tpot_tail: Floats
    """99th percentile over median of the time per output token under Poisson arrivals."""


_NEAR_ENOUGH = 0.5
"""Company from which rows of the same model and accelerator count for more than kernels do."""
UNKNOWN = frozenset({"engine", "family", "accelerator"})
"""What the physics has to have seen of a row to count beside measured kernels: held-out publications and accelerators
are met by kernels alone better than by both together, held-out models by both."""

PARAMETERS = tuple(field.name for field in fields(Parameters))


@dataclass(frozen=True)
class Subject:
    """Who runs what: the names by which effects are looked up."""

    engine: str
    variant: str
    family: str
    group: str
    accelerator: str
    model: str
    traits: tuple[str, ...] = ()

    def names(self) -> tuple[tuple[str, str], ...]:
        """What a row stands for, by kind: a fit that saw none of these knows less about it."""
        return (
            ("model", f"model={self.model}"),
            ("engine", f"engine={self.engine}/{self.variant}"),
            ("family", f"family={self.family}"),
            ("accelerator", f"accelerator={self.accelerator}"),
            ("format", f"engine={self.engine}|format={self.group}"),
        )

    def effects(self) -> tuple[str, ...]:
        """Names of all effects that apply, general ones first."""
        names = [
            f"engine={self.engine}",
            f"family={self.family}",
            f"format={self.group}",
            f"engine={self.engine}|format={self.group}",
            f"engine={self.engine}|family={self.family}",
            f"family={self.family}|format={self.group}",
            f"accelerator={self.accelerator}",
            f"engine={self.engine}|model={self.model}",
            f"engine={self.engine}|accelerator={self.accelerator}",
        ]
        if self.family.startswith("cpu"):
            names += [f"kind=cpu|format={self.group}", f"kind=cpu|engine={self.engine}|format={self.group}"]
        names += [key for trait in self.traits for key in (f"trait={trait}", f"engine={self.engine}|trait={trait}")]
        if self.variant:
            variant = f"variant={self.engine}/{self.variant}"
            names += [variant, f"{variant}|format={self.group}"]
            names += [f"{variant}|trait={trait}" for trait in self.traits]
        return tuple(names)


def family(accelerator: Accelerator) -> str:
    """The family whose kernels an accelerator shares."""
    if accelerator.kind is AcceleratorKind.CPU:
        arm = (
            "arm" in accelerator.vendor.lower() or "apple" in accelerator.key.lower() or "neon" in accelerator.features
        )
        return "cpu-amx" if "amx" in accelerator.features else "cpu-arm" if arm else "cpu-x86"
    if accelerator.kind is AcceleratorKind.UNIFIED and "apple" in accelerator.vendor.lower():
        return "apple"
    text = f"{accelerator.key} {accelerator.name}".lower().replace("-", " ").replace("_", " ")
    return next((name for pattern, name in _FAMILIES if re.search(pattern, text)), accelerator.vendor.lower())


def traits(model: ModelFacts, accelerator: Accelerator, variant: str) -> tuple[str, ...]:
    """What in a model's shape, in the links or in a suite's system is special."""
    moe = ("moe",) if model.experts is not None else ()
    latent = ("latent",) if model.latent is not None else ()
    grouped = ("grouped",) if model.attention in {Attention.GQA, Attention.MQA} else ()
    slow = ("slow-link",) if accelerator.link_gbs <= SLOW_LINK_GBS else ()
    return moe + latent + grouped + slow + (("tuned",) if variant.startswith("mlperf") else ())


def build_of(model: ModelFacts) -> str:
    """The shape that speed hangs on: models that share it, as a fine-tune and its base, are one to a clock.

    Layers and width, heads over those that are cached by their size, the MLP's width, experts. Vocabulary and windows
    are left to the physics.
    """
    latent, experts = f"~{model.latent.kv_rank}" if model.latent else "", model.experts
    if model.latent and model.latent.selected:
        latent += f"^{model.latent.selected}"
    attention = f"{model.heads}/{model.kv_heads}x{model.head_dim}{latent}"
    mixture = f" {experts.active}+{experts.shared}/{experts.count}x{experts.intermediate}" if experts else ""
    return f"{model.layers}x{model.hidden} {attention} {model.intermediate}{mixture}"


def subject_of(model: ModelFacts, engine: str, accelerator: Accelerator, weight: str) -> Subject:
    """The names under which the fitted effects of a model, an engine and its variant, and a format are kept."""
    name, _, variant = engine.partition("/")
    group, special = weight_format(weight).group, traits(model, accelerator, variant)
    return Subject(name, variant, family(accelerator), group, accelerator.key, build_of(model), special)


@dataclass(frozen=True)
class Widths:
    """How far predictions miss: standard deviations of logarithms that make 90 % intervals hold 90 %."""

    spread: dict[str, float]
    """By class of speed, and by class and engine, where all that a row names was fitted."""
    wider: dict[str, dict[str, float]]
    """By class: by how much a model, engine, accelerator, family or format that no fitted row had widens it."""
    closer: dict[str, float]
    """By class, and by class and regime: what is left of it in the closest company of rows of the same pair."""

    def closest(self, kind: str, regime: str) -> float:
        """What the closest company leaves of a class's deviation where requests arrive in a `regime`."""
        return self.closer.get(f"{kind}|{regime}", self.closer.get(kind, 1.0))


def narrowed(closer: Floats | float, company: Floats) -> Floats:
    """The share of a deviation that `company` (0 to 1) leaves: its square falls in proportion, to `closer` squared."""
    found: Floats = np.sqrt(1 - (1 - closer**2) * company)
    return found


@dataclass(frozen=True)
class Calibration:
    """Base values and effects of all parameters, what they were fitted to, and how far they miss."""

    base: dict[str, float]
    effects: dict[str, dict[str, float]]
    seen: frozenset[str]
    """Names of the fitted rows' models, engines, accelerators, families and formats."""
    widths: Widths
    sharpness: float
    """Exponent of the norm that joins traffic and arithmetic: high means perfect overlap."""

    def new(self, subject: Subject) -> list[str]:
        """Which of model, engine, accelerator's family, accelerator and format no fitted row had."""
        found = [kind for kind, name in subject.names() if name not in self.seen]
        implied = {"family": "accelerator", "engine": "format"}
        return [kind for kind in found if kind not in {implied.get(other) for other in found}]

    def deviation(self, kind: str, engine: str, new: list[str], company: float = 0.0, regime: str = "") -> float:
        """Standard deviation of a logarithm for a class of speed.

        What is new widens it, independently of the rest; `company` of rows of the same pair narrows it, by regime.
        """
        own = self.widths.spread.get(kind if "engine" in new else f"{kind}|{engine}", self.widths.spread[kind])
        widened = own * math.sqrt(1 + sum(self.widths.wider[kind][name] ** 2 - 1 for name in new))
        return widened * float(narrowed(self.widths.closest(kind, regime), np.array(company)))

    def parameters(self, subjects: list[Subject]) -> Parameters:
        """Parameters of `subjects`, arrays of shape (len(subjects),)."""
        keys = [subject.effects() for subject in subjects]
        values = []
        for name in PARAMETERS:
            known = self.effects.get(name, {})
            logs = [sum(known.get(key, 0.0) for key in row) for row in keys]
            values.append(self.base[name] * np.exp(np.array(logs, dtype=np.float64)))
        return Parameters(*values)


def share_of_kernels(kind: str, subject: Subject) -> float:
    """How much of a prediction's logarithm measured kernels give where they are known, the physics the rest.

    All of it where the physics was fitted to no row of the engine or of the accelerator.
    """
    return share(kind, calibration().new(subject), shares())


def on_kernels(company: Floats) -> NDArray[np.bool_]:
    """Whether a prediction that joins measured kernels stands on them: near published rows it stands on these."""
    return company < _NEAR_ENOUGH


def shares() -> dict[str, float]:
    """The shipped shares by class of speed."""
    found: dict[str, float] = _shipped()["silicon"]["share"]
    return found


def share(kind: str, new: list[str], shares: dict[str, float]) -> float:
    """The same for what the physics found `new`, with given `shares` by class; those not named count in full."""
    return 1.0 if UNKNOWN & set(new) else shares.get(kind, 1.0)


def joined(physics: Floats, kernels: Floats, share: Floats) -> Floats:
    """A mean of two predictions' logarithms."""
    found: Floats = kernels**share * physics ** (1 - share)
    return found


@cache
def calibration(*, silicon: bool = False) -> Calibration:
    """The shipped calibration: of physics alone, or of what comes on top of measured kernels."""
    raw = _shipped()
    part = raw["silicon"] if silicon else raw["physics"]
    widths = Widths(part["spread"], part["wider"], part["closer"])
    return Calibration(part["base"], part["effects"], frozenset(part["seen"]), widths, raw["sharpness"])


@cache
def _shipped() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files("planners").joinpath("data/performance.json").read_text(encoding="utf-8"))
    return found
