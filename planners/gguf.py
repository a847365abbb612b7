"""A GGUF file's header in, `ModelFacts` out: the keys are those of the GGUF specification (ggml `docs/gguf.md`)."""

from planners.architecture import attention_of, counted
from schemas.error import AgentError, ErrorCode
from schemas.gguf import GgufHeader
from schemas.model import Experts, ModelFacts

_UNGATED = frozenset({"gptj", "gptneox", "falcon", "mpt", "bloom", "phi2", "starcoder2"})

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
        AgentError: `unreadable_model` where a size is missing.
    """
    metadata = header.metadata
    family = str(metadata.get("general.architecture", ""))

    def number(key: str, default: int | None = None) -> int:
        value = metadata.get(f"{family}.{key}", default)
        if not isinstance(value, int) or value < 0:
            raise AgentError(ErrorCode.UNREADABLE_MODEL, f"the GGUF header has no usable {family}.{key}")
        return value

    hidden, heads = number("embedding_length"), number("attention.head_count")
    kv_heads = number("attention.head_count_kv", heads)
    count = number("expert_count", 0)
    vocab = metadata.get(f"{family}.vocab_size", metadata.get("tokenizer.ggml.tokens"))
    window = number("attention.sliding_window", 0)
    return counted(
        ModelFacts(
            name=name or str(metadata.get("general.name", family)),
            family=family,
            layers=number("block_count"),
            hidden=hidden,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=number("attention.key_length", hidden // heads if heads else 1),
            intermediate=number("feed_forward_length", 4 * hidden),
            vocab=vocab if isinstance(vocab, int) and vocab > 0 else 32000,
            context=number("context_length", 2048),
            attention=attention_of(heads, kv_heads, None),
            gated_mlp=family not in _UNGATED,
            tied_embeddings=not header.has_output,
            experts=Experts(
                count=count,
                active=number("expert_used_count", 1),
                intermediate=number("expert_feed_forward_length", number("feed_forward_length", 4 * hidden)),
            )
            if count > 1
            else None,
            sliding_window=window or None,
            sliding_layers=number("block_count") if window else 0,
            parameters=1,
            active_parameters=1,
            native_format=_FILE_TYPES.get(header.file_type if header.file_type is not None else -1, "F16"),
            source="its own GGUF header",
        )
    )
