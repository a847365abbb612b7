"""A model folder small enough to write by hand: two layers of eight, in float16, as safetensors writes it."""

import json
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "vocab_size": 6,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 16,
}
TOKENIZER = {"model": {"type": "BPE", "vocab": {f"t{index}": index for index in range(6)}, "merges": []}}
SHAPES = {
    "self_attn.q_proj": (8, 8),
    "self_attn.k_proj": (4, 8),
    "self_attn.v_proj": (4, 8),
    "self_attn.o_proj": (8, 8),
    "mlp.gate_proj": (16, 8),
    "mlp.up_proj": (16, 8),
    "mlp.down_proj": (8, 16),
}


def weights() -> dict[str, NDArray[np.float16]]:
    """The tensors of the model, all ones."""
    named = {f"model.layers.{layer}.{name}.weight": shape for layer in range(2) for name, shape in SHAPES.items()}
    return {name: np.ones(shape, np.float16) for name, shape in (named | {"model.embed_tokens.weight": (6, 8)}).items()}


def header_of(tensors: dict[str, NDArray[np.float16]]) -> dict[str, dict[str, object]]:
    """The header that describes `tensors` laid one after another."""
    entries, at = {}, 0
    for name, values in tensors.items():
        entries[name] = {"dtype": "F16", "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    return entries


def write_safetensors(path: Path, header: object, data: bytes) -> None:
    """A file of `header` and `data`, whether they fit each other or not."""
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)


def write_model(folder: Path, tensors: dict[str, NDArray[np.float16]] | None = None, **config: object) -> Path:
    """A whole model folder; `config` overrides what its config.json says."""
    tensors = weights() if tensors is None else tensors
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "model.safetensors", header_of(tensors), b"".join(map(bytes, tensors.values())))
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    return folder
