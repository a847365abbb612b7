"""Weights of no meaning and the right shapes: a model's facts in, a folder for vLLM or a GGUF for llama.cpp out.

How fast an engine runs hardly depends on what its weights say, so that a model can be timed on a machine that cannot
fetch it. What it answers is noise; experts are chosen at random, and so evenly.
"""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.model import ModelFacts

Bytes = NDArray[np.uint8]

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
QWENS = {"qwen3": "Qwen3", "qwen3moe": "Qwen3Moe"}
"""Families with norms of queries and keys, as Hugging Face calls them; all others are taken for Llama."""
EPSILON = 1e-5
SEED = 1


def write_folder(model: ModelFacts, folder: Path, *, awq: bool = False) -> None:
    """`config.json` and a tokenizer of as many words as the model knows; for `--load-format dummy`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = _config(model) | ({"quantization_config": AWQ} if awq else {})
    (folder / "config.json").write_text(json.dumps(config))
    words = {"type": "WordLevel", "vocab": {f"t{index}": index for index in range(model.vocab)}, "unk_token": "t0"}
    tokenizer = {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"}, "model": words}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "t1"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))


def _config(model: ModelFacts) -> dict[str, object]:
    """Hugging Face's names; dense models as Llama or Qwen3 (norms of queries and keys), experts as Qwen3's."""
    name = QWENS.get(model.family, "Llama")
    config: dict[str, object] = {
        "architectures": [f"{name}ForCausalLM"],
        "model_type": {"Qwen3Moe": "qwen3_moe"}.get(name, name.lower()),
        "torch_dtype": "bfloat16",
        "num_hidden_layers": model.layers,
        "hidden_size": model.hidden,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "intermediate_size": model.intermediate,
        "vocab_size": model.vocab,
        "max_position_embeddings": model.context,
        "hidden_act": "silu",
        "rms_norm_eps": EPSILON,
        "rope_theta": 500000.0,
        "tie_word_embeddings": model.tied_embeddings,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    if model.experts is not None:
        config |= {
            "num_experts": model.experts.count,
            "num_experts_per_tok": model.experts.active,
            "moe_intermediate_size": model.experts.intermediate,
            "norm_topk_prob": True,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        }
    return config


class Block(NamedTuple):
    """One of ggml's formats: values and bytes of a block, and where in it its 16-bit scales lie (ggml-common.h)."""

    values: int
    size: int
    scales: tuple[int, ...]


BLOCKS = {"Q4_K": Block(256, 144, (0, 2)), "Q6_K": Block(256, 210, (208,)), "Q8_0": Block(32, 34, (0,))}
SCALE = np.float16(1e-3).tobytes()


def write_gguf(model: ModelFacts, weight_format: str, path: Path) -> None:
    """A GGUF of a Llama or Qwen3, dense or of experts, in `Q4_K_M` or `Q8_0`; needs the package `gguf`."""
    gguf = importlib.import_module("gguf")  # on the machine that has the GPU, not among the agent's own
    writer = gguf.GGUFWriter(path, model.family if model.family in QWENS else "llama")
    writer.add_block_count(model.layers)
    writer.add_context_length(model.context)
    writer.add_embedding_length(model.hidden)
    writer.add_feed_forward_length(model.intermediate)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_key_length(model.head_dim)
    writer.add_value_length(model.head_dim)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_rope_dimension_count(model.head_dim)
    writer.add_rope_freq_base(500000.0)
    writer.add_vocab_size(model.vocab)
    writer.add_tokenizer_model("no_vocab")
    if model.experts is not None:
        writer.add_expert_count(model.experts.count)
        writer.add_expert_used_count(model.experts.active)
        writer.add_expert_feed_forward_length(model.experts.intermediate)
    noise = np.random.default_rng(SEED).integers(0, 256, 1 << 24, dtype=np.uint8)
    made: dict[tuple[tuple[int, ...], str], NDArray[Any]] = {}
    for name, shape, kind in _tensors(model, weight_format):
        if (shape, kind) not in made:  # layers share theirs in memory, not in the file
            made[shape, kind] = np.ones(shape, np.float32) if kind == "F32" else _blocks(noise, shape, BLOCKS[kind])
        raw = None if kind == "F32" else gguf.GGMLQuantizationType[kind]
        writer.add_tensor(name, made[shape, kind], raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _blocks(noise: Bytes, shape: tuple[int, ...], block: Block) -> Bytes:
    """Random blocks with small scales, of `shape` with the row's bytes last."""
    row = shape[-1] // block.values * block.size
    count = int(np.prod(shape[:-1])) * shape[-1] // block.values
    some = noise[: noise.size // block.size * block.size].reshape(-1, block.size).copy()
    for at in block.scales:
        some[:, at : at + 2] = np.frombuffer(SCALE, np.uint8)
    whole = np.resize(some, (count, block.size))
    return whole.reshape(*shape[:-1], row)


def _tensors(model: ModelFacts, weight_format: str) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Name, shape and format of every tensor; `Q4_K_M` gives more bits as llama.cpp's `llama_tensor_get_type` does."""
    mixed = weight_format == "Q4_K_M"
    plain, better = ("Q4_K", "Q6_K") if mixed else (weight_format, weight_format)
    width, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    yield "token_embd.weight", (model.vocab, model.hidden), plain
    for layer in range(model.layers):
        eighth = model.layers // 8
        more = layer < eighth or layer >= 7 * eighth or (layer - eighth) % 3 == 2
        at = f"blk.{layer}."
        yield at + "attn_norm.weight", (model.hidden,), "F32"
        yield at + "attn_q.weight", (width, model.hidden), plain
        yield at + "attn_k.weight", (keys, model.hidden), plain
        yield at + "attn_v.weight", (keys, model.hidden), better if more else plain
        yield at + "attn_output.weight", (model.hidden, width), plain
        if model.family in QWENS:
            yield at + "attn_q_norm.weight", (model.head_dim,), "F32"
            yield at + "attn_k_norm.weight", (model.head_dim,), "F32"
        yield at + "ffn_norm.weight", (model.hidden,), "F32"
        if model.experts is None:
            yield at + "ffn_gate.weight", (model.intermediate, model.hidden), plain
            yield at + "ffn_up.weight", (model.intermediate, model.hidden), plain
            yield at + "ffn_down.weight", (model.hidden, model.intermediate), better if more else plain
        else:
            count, inner = model.experts.count, model.experts.intermediate
            yield at + "ffn_gate_inp.weight", (count, model.hidden), "F32"
            yield at + "ffn_gate_exps.weight", (count, inner, model.hidden), plain
            yield at + "ffn_up_exps.weight", (count, inner, model.hidden), plain
            yield at + "ffn_down_exps.weight", (count, model.hidden, inner), better if more else plain
    yield "output_norm.weight", (model.hidden,), "F32"
    yield "output.weight", (model.vocab, model.hidden), better
