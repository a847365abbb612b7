"""A GGUF file's header in, `ModelFacts` out: the keys are those of the GGUF specification (ggml `docs/gguf.md`)."""

from collections.abc import Callable

from pydantic import ValidationError

from planners.architecture import attention_of, counted, windowed_layers
from schemas.error import AgentError, ErrorCode
from schemas.gguf import GgufHeader, Value
from schemas.model import Experts, LatentAttention, ModelFacts

_UNGATED = frozenset({"gptj", "gptneox", "falcon", "mpt", "bloom", "phi2", "starcoder2"})

_FULL_EVERY = {
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "cohere2": 4,
    "olmo2": 4,
    "exaone4": 4,
    "llama4": 4,
}
"""Of how many layers one attends to everything, by architecture (llama.cpp `src/models`: `set_swa_pattern`). In others
a window spares no cache there unless the header says which layers keep to it."""
_WINDOWS = {"gemma2": 4096, "llama4": 8192}
"""Windows that llama.cpp takes where the header states none, in tokens."""

_FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    12: "Q3_K_M",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    25: "IQ4_NL",
    30: "IQ4_XS",
    32: "BF16",
}
"""`general.file_type` (llama.cpp `enum llama_ftype`) by name."""


def model_from_gguf(header: GgufHeader, name: str = "") -> ModelFacts:
    """What a GGUF file states about its model.

    Raises:
        AgentError: `unreadable_model` where a size is missing or makes no sense.
    """
    try:
        return _facts(header, name)
    except ValidationError as error:
        wrong = error.errors()[0]
        field = ".".join(map(str, wrong["loc"]))
        raise AgentError(
            ErrorCode.UNREADABLE_MODEL, f"the GGUF header gives no usable {field}: {wrong['msg'].lower()}"
        ) from error


def _facts(header: GgufHeader, name: str) -> ModelFacts:
    metadata = header.metadata
    family = str(metadata.get("general.architecture", ""))

    def number(key: str, default: int | None = None) -> int:
        value = metadata.get(f"{family}.{key}", default)
        if isinstance(value, tuple):  # by layer
            value = max(value, default=0)
        if not isinstance(value, int) or value < 0:
            raise AgentError(ErrorCode.UNREADABLE_MODEL, f"the GGUF header has no usable {family}.{key}")
        return value

    hidden, heads, layers = number("embedding_length"), number("attention.head_count"), number("block_count")
    latent = _latent(number) if number("attention.kv_lora_rank", 0) else None
    # With latent attention newer headers count one head, that of the latent.
    kv_heads = heads if latent else number("attention.head_count_kv", heads)
    vocab = metadata.get(f"{family}.vocab_size", metadata.get("tokenizer.ggml.tokens"))
    windowed = _windowed(metadata.get(f"{family}.attention.sliding_window_pattern"), layers, family)
    window = number("attention.sliding_window", _WINDOWS.get(family, 0)) if windowed else 0
    width = latent.nope_dim if latent else number("attention.key_length", hidden // heads if heads else 1)
    return counted(
        ModelFacts(
            name=name or str(metadata.get("general.name", family)),
            family=family,
            layers=layers,
            hidden=hidden,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=width,
            intermediate=number("feed_forward_length", 4 * hidden),
            vocab=vocab if isinstance(vocab, int) and vocab > 0 else 32000,
            context=number("context_length", 2048),
            attention=attention_of(heads, kv_heads, latent),
            gated_mlp=family not in _UNGATED,
            tied_embeddings=not header.has_output,
            experts=_experts(number, hidden) if number("expert_count", 0) > 1 else None,
            latent=latent,
            sliding_window=window or None,
            sliding_layers=windowed if window else 0,
            parameters=1,
            active_parameters=1,
            native_format=_FILE_TYPES.get(header.file_type if header.file_type is not None else -1, "F16"),
            source="its own GGUF header",
        )
    )


def _windowed(pattern: Value | None, layers: int, family: str) -> int:
    """How many layers keep to a window: a choice for each of some layers, which repeat, or of how many one does not."""
    if isinstance(pattern, tuple) and pattern:
        return round(layers * sum(map(bool, pattern)) / len(pattern))
    every = pattern if isinstance(pattern, int) else _FULL_EVERY.get(family, 1)
    return windowed_layers(layers, max(every, 0))


def _latent(number: Callable[..., int]) -> LatentAttention:
    """Widths of a head are stated apart (`_mla`) where the cache holds the latent, else as those of any head."""
    rope = number("rope.dimension_count")
    return LatentAttention(
        kv_rank=number("attention.kv_lora_rank"),
        rope_dim=rope,
        q_rank=number("attention.q_lora_rank", 0),
        nope_dim=number("attention.key_length_mla", number("attention.key_length")) - rope,
        value_dim=number("attention.value_length_mla", number("attention.value_length")),
        selected=number("attention.indexer.top_k", 0),
        index_heads=number("attention.indexer.head_count", 0),
        index_dim=number("attention.indexer.key_length", 0),
    )


def _experts(number: Callable[..., int], hidden: int) -> Experts:
    size = number("expert_feed_forward_length", number("feed_forward_length", 4 * hidden))
    together = number("expert_shared_feed_forward_length", 0)
    shared = number("expert_shared_count", int(together > 0))
    return Experts(
        count=number("expert_count"),
        active=number("expert_used_count", 1),
        intermediate=size,
        shared=shared,
        shared_intermediate=(together or size) if shared else 0,
        dense_layers=number("leading_dense_block_count", 0),
    )
