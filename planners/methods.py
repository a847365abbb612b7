"""Quantization methods as papers and tools write them in; scheme, bits, group, activations and cache out."""

import re
from dataclasses import dataclass

from planners.performance.formats import formats

_SCHEMES = (
    (r"spinquant", "spinquant"),
    (r"quarot", "quarot"),
    (r"llm-qat", "llm-qat"),
    (r"smoothquant", "smoothquant"),
    (r"atom", "atom"),
    (r"qoq|qserve", "qoq"),
    (r"aqlm|quip", "codebook"),
    (r"autoround|ours w|signround", "autoround"),
    (r"omniquant", "omniquant"),
    (r"hqq", "hqq"),
    (r"gptq", "gptq"),
    (r"awq", "awq"),
    (r"mxfp4", "mxfp4"),
    (r"nvfp4", "nvfp4"),
    (r"fp8", "fp8"),
    (r"nf4", "nf4"),
    (r"opt-rtn|optimized rtn", "optimized-rtn"),
    (r"rtn", "rtn"),
    (r"int8|w8a16", "int8"),
)
_TUNED_TYPES = frozenset({"q2ks", "q3ks", "q4km"})
"""GGUF files that auto-round's page names without separators: tuned by it."""
_NOMINAL = {"(2bit)": "Q2_K_S", "(3bit)": "Q3_K_S", "(4bit)": "Q4_K_M"}
"""The same files where that page names them by their bits."""
_GGUF = re.compile(r"\b(?P<bits>i?q\d)_?(?P<kind>k|[01]|nl|xxs|xs|s|m)(?:_?(?P<mix>[sml])\b)?", re.IGNORECASE)


@dataclass(frozen=True)
class Method:
    """How weights are stored. `group` weights share a scale (0: a whole channel); 16 bits mean untouched."""

    scheme: str
    bits: float
    group: int = 128
    activation_bits: int = 16
    kv_bits: int = 16
    importance: bool = False
    tuned: bool = False


def method_of(text: str, bits: float) -> Method:
    """The method called `text`, which stores `bits` per weight."""
    low = text.lower()
    activations = re.search(r"w\d+a(\d+)", low)
    cache = re.search(r"kv(\d+)", low)
    group = re.search(r"\bg(-?\d+)|g(-?\d+)\b", low)
    number = int(group[1] or group[2]) if group else 0
    quant = _GGUF.search(low)
    named = next((scheme for pattern, scheme in _SCHEMES if re.search(pattern, low)), None)
    if "gguf" in low or quant or low in _TUNED_TYPES or "bit)" in low:
        kind = gguf_scheme(quant[0].lower() if quant else low)
        tuned = named in {"autoround", "optimized-rtn"} or low in _TUNED_TYPES or "opt-rtn" in low
        return Method(kind, _gguf_bits(low, quant, bits), 32, importance="imatrix" in low, tuned=tuned)
    optimised = "opt" in low or "mix ours" in low
    return Method(
        scheme=named or "rtn",
        bits=bits,
        group=max(number, 0) or (32 if named in {"mxfp4", "nvfp4"} else 0),
        activation_bits=int(activations[1]) if activations else 16,
        kv_bits=int(cache[1]) if cache else 16,
        tuned=optimised,
    )


def _gguf_bits(text: str, quant: re.Match[str] | None, stated: float) -> float:
    """What a type stores with its scales: publications state the bits of its name as often."""
    parts = [part.upper() for part in quant.groups() if part] if quant else []
    name = "_".join(parts) or next((name for bits, name in _NOMINAL.items() if bits in text), "")
    known = formats().get(name)
    return known.bits if known else stated


def gguf_scheme(name: str) -> str:
    """The family of a llama.cpp type by its name in small letters."""
    if name.startswith("iq"):
        return "i-quant"
    if name.endswith("_0"):
        return "gguf-symmetric"
    return "gguf-affine" if name.endswith("_1") else "k-quant"
