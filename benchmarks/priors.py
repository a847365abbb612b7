"""What is believed of the physics' efficiencies before any row is read: where they lie, how far effects may move them.

Every effect has a normal prior around zero whose width depends on how specific the effect is, so that what few rows
say stays small.
"""

from collections import defaultdict
from dataclasses import dataclass

from planners.performance.calibration import PARAMETERS
from planners.performance.observe import Observations

BASE = {
    "bandwidth": 0.75,
    "cache": 0.6,
    "prefill": 0.5,
    "decode": 0.4,
    "layer_us": 10.0,
    "step_us": 500.0,
    "sequence_us": 8.0,
    "reduce_us": 10.0,
    "link": 0.5,
    "first_us": 3000.0,
    "client_us": 10000.0,
    "eager_us": 60.0,
    "read_us": 1.0,
    "kernel_step": 1.0,
    "kernel_prompt": 1.0,
    "stagger": 0.5,
    "crowd": 1.0,
    "fill": 0.8,
    "load": 0.9,
    "ttft_tail": 2.0,
    "tpot_tail": 1.15,
}
# Widths of the priors by the kind of effect; the part of a key before each "=" names its kind.
WIDTHS = {
    "engine": 0.5,
    "family": 0.25,
    "format": 0.3,
    "trait": 0.3,
    "variant": 0.3,
    "engine|format": 0.2,
    "engine|family": 0.2,
    "family|format": 0.15,
    "engine|trait": 0.2,
    "variant|format": 0.2,
    "variant|trait": 0.3,
    "kind|format": 0.4,
    "kind|engine|format": 0.4,
    "accelerator": 0.10,
    "engine|model": 0.2,
    "engine|accelerator": 0.1,
}
_WHO = {"engine", "variant", "family", "engine|family", "trait"}
_BOTH = {"engine|model", "engine|accelerator"}
APPLIES = {
    "bandwidth": set(WIDTHS),
    "cache": _WHO | _BOTH | {"engine|trait", "variant|trait"},
    "prefill": set(WIDTHS),
    "decode": set(WIDTHS),
    "layer_us": _WHO | _BOTH | {"format", "engine|trait", "engine|format"},
    "step_us": {"engine", "variant", "family"},
    "sequence_us": {"engine", "variant", "family"},
    "reduce_us": {"engine", "variant", "family", "trait"},
    "link": {"engine", "family", "trait"},
    "first_us": _WHO | {"engine|family", "variant|trait"},
    "client_us": {"engine", "variant", "engine|family"},
    "eager_us": _WHO | _BOTH,
    "read_us": _WHO,
    "kernel_step": {"engine", "variant", "trait", "engine|format", "engine|family", "engine|trait", "variant|trait"},
    "kernel_prompt": {"engine", "variant", "trait", "engine|format", "engine|family", "engine|trait", "variant|trait"},
    "stagger": {"engine", "variant"},
    "crowd": set(WIDTHS),
    "fill": _WHO | {"variant|trait"},
    "load": {"engine", "variant"},
    "ttft_tail": {"engine", "variant"},
    "tpot_tail": {"engine", "variant"},
}
EXPECTED = {
    ("layer_us", "format=bnb8"): 1.4,
    ("layer_us", "format=nf4"): 0.7,
    ("cache", "variant=tensorrt-llm/2023|trait=grouped"): -1.4,
}
"""Centres of priors other than zero: bitsandbytes launches several kernels for each matrix, so that small models
decode four times slower in 8 bits and twice in 4 bits than in half precision (arXiv 2208.07339, appendix; its blog).
TensorRT-LLM before 0.7 read the cache once for every query head, eight times for most models that group them, and what
of it the second-level cache served is unknown (its docs/source/blogs/XQA-kernel.md)."""
BASE_WIDTH = 0.7
SHARES = frozenset({"bandwidth", "cache", "prefill", "decode", "link", "fill", "load", "crowd"})
SHARE_WIDTH = 0.12
"""Efficiencies of an engine that nobody measured stay near what is usual, and below one; its first tokens near what
prompts, steps and the client come to."""
WIDE = {
    "client_us": 2.0,
    "first_us": 1.5,
    "stagger": 2.0,
    "crowd": 0.6,
    "ttft_tail": 0.6,
    "tpot_tail": 0.25,
    "load": 0.4,
}
"""Parameters that differ by an order of magnitude between a bare loop and a server behind a network; one that takes up
what the mechanism of first tokens under load does not explain, which had better be little; and tails and loads, of
which MLPerf's runs show how far they go: 99th percentiles over medians scatter by 0.31 for first tokens and by 0.12 for
times per token (logarithms, 17 kinds of system)."""
MEASURED = 0.4
"""Width of the priors of what multiplies measured kernels, over the others'."""


@dataclass(frozen=True)
class Slot:
    """One unknown: a parameter's base, or one of its effects."""

    parameter: str
    key: str
    width: float

    @property
    def centre(self) -> float:
        """Where the prior lies."""
        return EXPECTED.get((self.parameter, self.key), 0.0)


def kind_of(key: str) -> str:
    """The kind of an effect's key: `engine=vllm|format=fp8` is `engine|format`."""
    return "|".join(part.split("=")[0] for part in key.split("|"))


def slots(observations: Observations) -> list[Slot]:
    """All unknowns that the rows can tell apart: of keys that cover the same rows, the most general one."""
    covered: dict[str, list[int]] = defaultdict(list)
    for row, subject in enumerate(observations.subjects):
        for key in subject.effects():
            covered[key].append(row)
    ordered = sorted(covered, key=lambda key: (list(WIDTHS).index(kind_of(key)), key))
    found = []
    for name in PARAMETERS:
        narrow = MEASURED if name.startswith("kernel") else WIDE.get(name, 1.0)
        found.append(Slot(name, "", SHARE_WIDTH if name in SHARES else BASE_WIDTH * narrow))
        seen = {tuple(range(observations.count))}
        for key in ordered:
            rows = tuple(covered[key])
            if kind_of(key) in APPLIES[name] and rows not in seen:
                seen.add(rows)
                found.append(Slot(name, key, WIDTHS[kind_of(key)] * narrow))
    return found
