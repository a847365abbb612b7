"""A language model's architecture as the planner needs it: counts and sizes, each record with its source."""

from enum import StrEnum

from pydantic import NonNegativeInt, PositiveInt

from schemas.base import Record


class Attention(StrEnum):
    """How keys and values are shared: a head each, by group, by all, or as one latent vector."""

    MHA = "mha"
    GQA = "gqa"
    MQA = "mqa"
    MLA = "mla"


class Experts(Record):
    """The mixture-of-experts part of a model; counts per MoE layer, sizes in neurons."""

    count: PositiveInt
    active: PositiveInt
    intermediate: PositiveInt
    shared: NonNegativeInt = 0
    shared_intermediate: NonNegativeInt = 0
    dense_layers: NonNegativeInt = 0
    """Leading layers that keep a dense MLP."""


class LatentAttention(Record):
    """Multi-head latent attention (DeepSeek-V2): the cached latent and the widths around it."""

    kv_rank: PositiveInt
    rope_dim: PositiveInt
    q_rank: NonNegativeInt = 0
    nope_dim: PositiveInt
    value_dim: PositiveInt
    selected: NonNegativeInt = 0
    """Tokens that a query attends to where attention is sparse (DeepSeek-V3.2); 0: all of them."""
    index_heads: NonNegativeInt = 0
    index_dim: NonNegativeInt = 0
    """Heads of the indexer that selects them, and the width of each and of the one key that it caches for a token."""


class ModelFacts(Record):
    """What a model is made of. Sizes are in elements, contexts in tokens, parameters as counts."""

    name: str
    family: str
    aliases: tuple[str, ...] = ()
    layers: PositiveInt
    hidden: PositiveInt
    heads: PositiveInt
    kv_heads: PositiveInt
    head_dim: PositiveInt
    intermediate: PositiveInt
    vocab: PositiveInt
    context: PositiveInt
    attention: Attention
    gated_mlp: bool = True
    tied_embeddings: bool = False
    experts: Experts | None = None
    latent: LatentAttention | None = None
    sliding_window: PositiveInt | None = None
    sliding_layers: NonNegativeInt = 0
    """How many of the layers attend only within `sliding_window` tokens."""
    parameters: PositiveInt
    active_parameters: PositiveInt
    """Parameters that one token touches; equal to `parameters` in dense models."""
    native_format: str = "BF16"
    source: str
