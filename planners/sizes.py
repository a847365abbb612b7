"""A model and a weight format in, bytes out: tensor by tensor for GGUF types, by bits per weight for the others."""

from functools import cache

from planners.architecture import layer_parameters
from planners.performance.formats import kv_bytes, weight_format
from schemas.model import LatentAttention, ModelFacts

_SUPERBLOCK = 256
_SIXTEEN_BITS, _SCALE_BYTES, _SCALED = 2.0, 4.0, 128
_GGUF_OVERHEAD_BYTES = 1.8e6
"""Header with the tokenizer of about 50,000 entries (the shipped SmolLM2 files)."""

BLOCK_BITS = {
    "F16": 16.0,
    "Q8_0": 8.5,
    "Q6_K": 6.5625,
    "Q5_1": 6.0,
    "Q5_0": 5.5,
    "Q5_K": 5.5,
    "Q4_K": 4.5,
    "Q4_0": 4.5,
    "IQ4_NL": 4.5,
    "Q3_K": 3.4375,
    "Q2_K": 2.625,
}
"""Bits per weight of ggml's block types (ggml-common.h: bytes of a block over weights of a block)."""

FALLBACK = {"Q6_K": "Q8_0", "Q5_K": "Q5_1", "Q4_K": "Q5_0", "Q3_K": "Q4_0", "Q2_K": "Q4_0"}
"""What llama.cpp stores instead where a row is no multiple of 256 (`llama_model_quantize`)."""


def weight_bytes(model: ModelFacts, name: str) -> float:
    """Bytes of all weights in the format called `name`."""
    if weight_format(name).group.startswith("gguf"):
        return _gguf_bytes(model, name)
    embeddings = model.vocab * model.hidden * (1 if model.tied_embeddings else 2)
    bits = weight_format(name).bits
    # Quantizers of this family leave embeddings and output head in 16 bits; unquantised formats keep their own.
    return (model.parameters - embeddings) * bits / 8 + embeddings * max(bits, 16.0) / 8


def kv_bytes_per_sequence(model: ModelFacts, kv_format: str, tokens: int) -> float:
    """Bytes of keys and values of one sequence of `tokens`; windowed layers stop growing at their window."""
    size = kv_bytes(kv_format)
    if model.latent is not None:
        return model.layers * tokens * _latent_bytes(model.latent, size)
    width = 2 * model.kv_heads * model.head_dim * size
    windowed = model.sliding_layers if model.sliding_window else 0
    window = min(tokens, model.sliding_window or tokens)
    return width * ((model.layers - windowed) * tokens + windowed * window)


def _latent_bytes(latent: LatentAttention, size: float) -> float:
    """Bytes of one token in one layer, `size` bytes an element.

    Where attention is to selected tokens the indexer's key is kept in 8 bits with a scale, and an 8-bit latent has a
    scale for each 128 and a rotary part in 16 bits (vLLM 0.32 `flashmla_sparse.py`: 656 bytes; FlashMLA's own format).
    """
    if not latent.selected:
        return (latent.kv_rank + latent.rope_dim) * size
    scales = latent.kv_rank / _SCALED * _SCALE_BYTES if size < _SIXTEEN_BITS else 0.0
    return latent.kv_rank * size + scales + latent.rope_dim * _SIXTEEN_BITS + latent.index_dim + _SCALE_BYTES


def stored_type(name: str, columns: int) -> str:
    """The block type that a tensor with rows of `columns` really gets."""
    return FALLBACK.get(name, name) if columns % _SUPERBLOCK else name


@cache
def _gguf_bytes(model: ModelFacts, name: str) -> float:
    """Sum over tensors, after llama.cpp's own mixture for the file type (src/llama-quant.cpp)."""
    bits = _GGUF_OVERHEAD_BYTES * 8
    output = name if name in {"F16", "Q8_0"} else "Q6_K"
    bits += _bits(output, model.vocab * model.hidden, model.hidden)
    if not model.tied_embeddings:
        bits += _bits(_base(name), model.vocab * model.hidden, model.hidden)
    for layer in range(model.layers):
        bits += _layer_bits(model, name, layer)
    return bits / 8


def _layer_bits(model: ModelFacts, name: str, layer: int) -> float:
    moe = model.experts is not None and layer >= model.experts.dense_layers
    parts = layer_parameters(model, moe=moe)
    width = model.heads * model.head_dim
    value = min(model.hidden * model.kv_heads * model.head_dim, parts.attention)
    output = min(width * model.hidden, parts.attention - value)
    rest = parts.attention - value - output
    down = parts.mlp // (3 if model.gated_mlp else 2)
    inner = model.experts.intermediate if moe and model.experts else model.intermediate
    base = _base(name)
    return (
        _bits(base, rest + parts.mlp - down, model.hidden)
        + _bits(_value_type(model, name, layer), value, model.hidden)
        + _bits({"Q3_K_M": "Q4_K", "Q2_K": "Q3_K"}.get(name, base), output, width)
        + _bits(_down_type(model, name, layer), down, inner)
    )


def _bits(kind: str, elements: int, columns: int) -> float:
    return elements * BLOCK_BITS[stored_type(kind, columns)]


def _base(name: str) -> str:
    return name.removesuffix("_M").removesuffix("_S")


def _more_bits(layer: int, layers: int) -> bool:
    """The layers that the `_M` mixtures favour: the first and last eighth and every third between."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * eighth or (layer - eighth) % 3 == 2  # noqa: PLR2004 - llama.cpp's own rule


def _value_type(model: ModelFacts, name: str, layer: int) -> str:
    if name in {"Q4_K_M", "Q5_K_M"} and _more_bits(layer, model.layers):
        return "Q6_K"
    first = {"Q4_K_S": ("Q5_K", 4, "Q4_K"), "Q3_K_M": ("Q5_K", 2, "Q4_K"), "Q2_K": ("Q3_K", 0, "Q3_K")}.get(name)
    if first is None:
        return _base(name)
    return first[0] if layer < first[1] else first[2]


def _down_type(model: ModelFacts, name: str, layer: int) -> str:
    favoured = _more_bits(layer, model.layers)
    if name in {"Q4_K_M", "Q5_K_M"} and favoured:
        return "Q6_K"
    if name == "Q4_K_S" and layer < model.layers // 8:
        return "Q5_K"
    if name == "Q3_K_M":
        return "Q5_K" if layer < model.layers // 16 else "Q4_K"
    return "Q3_K" if name == "Q2_K" else _base(name)
