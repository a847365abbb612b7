"""A model's name that nobody knows in, an assumed architecture of the size it names out: better than no answer."""

import re

from schemas.model import Attention, ModelFacts

_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)\s*b(?![a-z0-9])", re.IGNORECASE)
_HEAD = 128
_LARGE = 5e9
_SHAPES = ((2e9, 24, 2048), (5e9, 32, 3072), (1.2e10, 32, 4096), (2.5e10, 40, 5120), (5e10, 64, 5120), (9e10, 80, 8192))
_LARGEST = (96, 12288)
_EVERY_HEAD = re.compile(
    r"opt|bloom|pythia|gpt|baichuan|vicuna|wizard|openllama|open_llama|dolly|stablelm", re.IGNORECASE
)
"""Families of 2020 to 2023 whose heads each keep their own keys and values."""


def model_of_size(name: str) -> ModelFacts | None:
    """A dense decoder of the size in `name` (`Qwen2.5-14B`: 14e9) with today's usual proportions; None without one."""
    found = _SIZE.search(name.replace("_", "-"))
    if found is None or not 0 < float(found[1]) < 1e4:  # noqa: PLR2004 - ten trillion parameters are a typing error
        return None
    parameters = int(float(found[1]) * 1e9)
    layers, hidden = next(((n, width) for most, n, width in _SHAPES if parameters <= most), _LARGEST)
    kv_heads = 8 if parameters >= _LARGE else 4
    vocab = 128_000
    heads = hidden // _HEAD
    every = bool(_EVERY_HEAD.search(name))
    kv_heads = heads if every else kv_heads
    attention = 2 * hidden * hidden + 2 * hidden * kv_heads * _HEAD
    mlp = (parameters - 2 * vocab * hidden) / layers - attention
    return ModelFacts(
        name=name,
        family="assumed",
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=_HEAD,
        intermediate=max(int(mlp / (3 * hidden)), hidden),
        vocab=vocab,
        context=8192,
        attention=Attention.MHA if every else Attention.GQA,
        parameters=parameters,
        active_parameters=parameters,
        source="assumed from the size in its name",
    )
