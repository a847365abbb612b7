"""A model's own description (`config.json`, GGUF metadata) in, `ModelFacts` out; parameters counted from the shapes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from schemas.error import AgentError, ErrorCode
from schemas.model import Attention, Experts, LatentAttention, ModelFacts

_FULL_EVERY = {"gemma2": 2, "gpt_oss": 2, "gemma3": 6, "gemma3_text": 6, "gemma3n_text": 5, "cohere2": 4}
"""Of how many layers one attends to everything where a config does not say: defaults of transformers' classes."""
_UNGATED = frozenset({"gptj", "gpt_neox", "gptneox", "falcon", "mpt", "bloom", "phi", "starcoder2", "opt", "gpt2"})
_TIED_BY_DEFAULT = frozenset({"gemma", "gemma2", "gemma3", "gemma3_text", "falcon", "mpt", "bloom", "cohere"})


def attention_of(heads: int, kv_heads: int, latent: LatentAttention | None) -> Attention:
    """Which kind of sharing the head counts describe."""
    if latent is not None:
        return Attention.MLA
    if kv_heads == heads:
        return Attention.MHA
    return Attention.MQA if kv_heads == 1 else Attention.GQA


def counted(model: ModelFacts) -> ModelFacts:
    """The model with its parameters counted from its shapes (biases and norms, under 0.1 %, are left out)."""
    layers = [layer_parameters(model, moe=moe) for moe in (False, True)]
    moe_layers = model.layers - model.experts.dense_layers if model.experts else 0
    dense_layers = model.layers - moe_layers
    embeddings = model.vocab * model.hidden * (1 if model.tied_embeddings else 2)
    total = embeddings + dense_layers * layers[0].total + moe_layers * layers[1].total
    active = model.vocab * model.hidden + dense_layers * layers[0].active + moe_layers * layers[1].active
    return model.model_copy(update={"parameters": total, "active_parameters": active if model.experts else total})


@dataclass(frozen=True)
class LayerParameters:
    """Parameters of one layer by part; `active` is what one token multiplies with."""

    attention: int
    mlp: int
    active_mlp: int

    @property
    def total(self) -> int:
        """All of the layer."""
        return self.attention + self.mlp

    @property
    def active(self) -> int:
        """What one token touches."""
        return self.attention + self.active_mlp


def layer_parameters(model: ModelFacts, *, moe: bool) -> LayerParameters:
    """Matrix elements of one layer: projections of queries, keys, values and output, and the MLP's two or three."""
    matrices = 3 if model.gated_mlp else 2
    attention = _latent_parameters(model, model.latent) if model.latent else _plain_parameters(model)
    if not moe or model.experts is None:
        mlp = matrices * model.hidden * model.intermediate
        return LayerParameters(attention, mlp, mlp)
    one = matrices * model.hidden * model.experts.intermediate
    shared = matrices * model.hidden * model.experts.shared_intermediate * model.experts.shared
    router = model.hidden * model.experts.count
    return LayerParameters(
        attention, model.experts.count * one + shared + router, model.experts.active * one + shared + router
    )


def _plain_parameters(model: ModelFacts) -> int:
    return 2 * model.hidden * model.head_dim * (model.heads + model.kv_heads)


def _latent_parameters(model: ModelFacts, latent: LatentAttention) -> int:
    """DeepSeek-V2 report, section 2.1: low-rank queries, one shared latent for keys and values."""
    query_width = model.heads * (latent.nope_dim + latent.rope_dim)
    queries = latent.q_rank * (model.hidden + query_width) if latent.q_rank else model.hidden * query_width
    keys_values = model.hidden * (latent.kv_rank + latent.rope_dim) + latent.kv_rank * model.heads * (
        latent.nope_dim + latent.value_dim
    )
    return queries + keys_values + model.heads * latent.value_dim * model.hidden


class _Config:
    """Typed look-ups in a description whose values are not to be trusted."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.values = values

    def number(self, *names: str, default: int | None = None) -> int:
        """The first of `names` that is a positive integer (or zero where the default allows absence)."""
        for name in names:
            value = self.values.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31:
                return value
            if isinstance(value, list) and value and all(isinstance(item, int) for item in value):
                return int(max(value))
        if default is not None:
            return default
        raise AgentError(ErrorCode.UNREADABLE_MODEL, f"the model's description has no usable {' or '.join(names)}")

    def text(self, name: str, default: str) -> str:
        """A string, or the default."""
        value = self.values.get(name)
        return value if isinstance(value, str) else default

    def flag(self, name: str, *, default: bool) -> bool:
        """A boolean, or the default."""
        value = self.values.get(name)
        return value if isinstance(value, bool) else default


def model_from_config(config: Mapping[str, object], name: str = "") -> ModelFacts:
    """Facts from the content of a Hugging Face `config.json` (its text part where it has several).

    Raises:
        AgentError: `unsafe_model` where it maps code, `unreadable_model` where a size is missing.
    """
    if "auto_map" in config:
        raise AgentError(
            ErrorCode.UNSAFE_MODEL, "config.json has an auto_map: it would run code from the model's folder"
        )
    text = config.get("text_config")
    read = _Config({**config, **cast("Mapping[str, object]", text)} if isinstance(text, dict) else config)
    family = read.text("model_type", "unknown")
    hidden = read.number("hidden_size", "n_embd", "d_model")
    heads = read.number("num_attention_heads", "n_head", "n_heads")
    kv_heads = _kv_heads(read, heads)
    latent = _latent(read)
    layers = read.number("num_hidden_layers", "n_layer", "n_layers")
    experts = _experts(read, layers)
    window, windowed = _window(read, layers)
    return counted(
        ModelFacts(
            name=name or read.text("_name_or_path", family),
            family=family,
            layers=layers,
            hidden=hidden,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=read.number("head_dim", default=latent.nope_dim if latent else max(1, hidden // heads)),
            intermediate=read.number(
                "intermediate_size_mlp", "intermediate_size", "n_inner", "ffn_hidden_size", default=4 * hidden
            ),
            vocab=read.number("vocab_size"),
            context=read.number("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", default=2048),
            attention=attention_of(heads, kv_heads, latent),
            gated_mlp=family not in _UNGATED,
            tied_embeddings=read.flag("tie_word_embeddings", default=family in _TIED_BY_DEFAULT),
            experts=experts,
            latent=latent,
            sliding_window=window,
            sliding_layers=windowed,
            parameters=1,
            active_parameters=1,
            native_format=_native(read),
            source="its own config.json",
        )
    )


def _kv_heads(read: _Config, heads: int) -> int:
    if read.flag("multi_query", default=False) and not read.flag("new_decoder_architecture", default=False):
        return 1
    return read.number("num_key_value_heads", "num_kv_heads", "n_head_kv", default=heads)


def _latent(read: _Config) -> LatentAttention | None:
    if not isinstance(read.values.get("kv_lora_rank"), int):
        return None
    return LatentAttention(
        kv_rank=read.number("kv_lora_rank"),
        rope_dim=read.number("qk_rope_head_dim"),
        q_rank=read.number("q_lora_rank", default=0),
        nope_dim=read.number("qk_nope_head_dim"),
        value_dim=read.number("v_head_dim"),
        selected=read.number("index_topk", default=0),
        index_heads=read.number("index_n_heads", default=0),
        index_dim=read.number("index_head_dim", default=0),
    )


def _experts(read: _Config, layers: int) -> Experts | None:
    count = read.number("num_local_experts", "n_routed_experts", "num_experts", default=0)
    if count <= 1:
        return None
    size = read.number("moe_intermediate_size", "intermediate_size")
    # Llama 4 always has one shared expert, and experts only in every so many layers; its config names neither count.
    shared = read.number("n_shared_experts", default=int(read.text("model_type", "").startswith("llama4")))
    step = read.number("interleave_moe_layer_step", default=1)
    return Experts(
        count=count,
        active=read.number("num_experts_per_tok", "experts_per_token", "num_experts_per_token", default=1),
        intermediate=size,
        shared=shared,
        shared_intermediate=size if shared else 0,
        dense_layers=read.number("first_k_dense_replace", default=layers - layers // step),
    )


def _window(read: _Config, layers: int) -> tuple[int | None, int]:
    """The attention window and how many layers keep to it; families write the share in several ways."""
    chunk = read.values.get("attention_chunk_size")
    if isinstance(chunk, int) and chunk > 0:  # Llama 4: three layers of four attend within chunks
        return chunk, windowed_layers(layers, 4)
    window = read.values.get("sliding_window")
    if not isinstance(window, int) or window <= 0 or read.values.get("use_sliding_window") is False:
        return None, 0
    kinds = read.values.get("layer_types")
    if isinstance(kinds, list):
        return window, sum(kind == "sliding_attention" for kind in kinds)
    usual = _FULL_EVERY.get(read.text("model_type", ""), 0)
    pattern = read.number("sliding_window_pattern", "_sliding_window_pattern", default=usual)
    return window, windowed_layers(layers, pattern)


def windowed_layers(layers: int, every: int) -> int:
    """How many layers keep to a window where one of `every` does not; all of them where that is 0."""
    return layers - layers // every if every else layers


def _native(read: _Config) -> str:
    quantised = read.values.get("quantization_config")
    method = quantised.get("quant_method") if isinstance(quantised, dict) else None
    named = {"fp8": "FP8", "mxfp4": "MXFP4"}.get(method) if isinstance(method, str) else None
    stored = read.text("torch_dtype", read.text("dtype", "bfloat16"))
    return named or {"float16": "F16", "float32": "F32"}.get(stored, "BF16")
