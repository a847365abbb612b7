"""What a model asks of a machine: parameters touched, KV elements and attention arithmetic, from its architecture."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from schemas.model import ModelFacts

Floats = NDArray[np.float64]

_FREE = 0.75
"""Tokens of a step draw some experts more often than others: n of them read as many as n to this power would that drew
independently. Chosen on held-out mixtures, where 0.7 and 0.85 are about as good and 1 is worse (times per token of
unseen mixtures missed by 20 % instead of 16 %; llama.cpp on a DGX Spark by 23 % instead of 13 %)."""


@dataclass(frozen=True)
class Work:
    """Counts of one model, or of one model per row; every field has the same shape (rows,).

    Parameters are counts, `kv_*` elements per cached token, `attend_*` FLOP per query token and context token.
    """

    layers: Floats
    hidden: Floats
    kv_heads: Floats
    always: Floats
    """Parameters every token touches: attention, dense and shared MLP, output head; not the input embedding."""
    head: Floats
    """Parameters of the output head: used once per prompt, and for every token decoded."""
    experts: Floats
    """Parameters of all routed experts."""
    share: Floats
    """Share of the routed experts that one token uses; 1 where there are none."""
    kv_full: Floats
    kv_passed: Floats
    """Of `kv_full`, what a decoded token reads of the `window` tokens alone that its indexer selects."""
    kv_window: Floats
    window: Floats
    attend_full: Floats
    attend_window: Floats
    attend_decode: Floats
    """FLOP per decoded token and context token in full layers: more than in prefill for latent attention."""

    @classmethod
    def of(cls, models: "list[ModelFacts]") -> Self:
        """The counts of `models`, one row each."""
        return cls(*np.array([_counts(model) for model in models], dtype=np.float64).T)

    def active(self) -> Floats:
        """Parameters one token touches."""
        return self.always + self.experts * self.share

    def touched(self, tokens: Floats) -> Floats:
        """Parameters read for a step of `tokens`, which draw alike: as many as fewer tokens would, drawing freely."""
        return self.always + self.experts * (1 - (1 - self.share) ** (np.maximum(tokens, 1.0) ** _FREE))

    def kv_elements(self, context: Floats) -> Floats:
        """Cached elements of one sequence of `context` tokens."""
        return self.kv_full * context + self.kv_window * np.minimum(context, self.window)

    def kv_read(self, context: Floats) -> Floats:
        """What a decoded token reads of them: all, unless it attends to selected tokens alone."""
        return self.kv_elements(context) - self.kv_passed * np.maximum(context - self.window, 0.0)


def _counts(model: ModelFacts) -> tuple[float, ...]:
    """One row of `Work`, in the order of its fields."""
    embedding = model.vocab * model.hidden
    routed, share = 0.0, 1.0
    if model.experts is not None:
        moe = model.experts
        matrices = 3 if model.gated_mlp else 2
        routed = float((model.layers - moe.dense_layers) * moe.count * matrices * model.hidden * moe.intermediate)
        routed = min(routed, 0.99 * model.parameters)
        share = moe.active / moe.count
    always = model.parameters - routed - (0 if model.tied_embeddings else embedding)
    windowed = model.sliding_layers
    full, seen_in_part = model.layers - windowed, windowed
    per_layer, passed = 2.0 * model.kv_heads * model.head_dim, 0.0
    attend = attend_window = 4.0 * model.heads * model.head_dim
    decode, window = attend, model.sliding_window or model.context
    if model.latent is not None:
        lat = model.latent
        per_layer = float(lat.kv_rank + lat.rope_dim)
        attend = 2.0 * model.heads * (lat.nope_dim + lat.rope_dim + lat.value_dim)
        decode = 2.0 * model.heads * (2 * lat.kv_rank + lat.rope_dim)
        if lat.selected:
            # All tokens meet the indexer, whose keys take a byte each; the selected ones meet the absorbed heads.
            seen_in_part, window, passed = full, lat.selected, per_layer
            per_layer, attend_window = per_layer + lat.index_dim, decode
            attend = decode = 2.0 * lat.index_heads * lat.index_dim
    return (
        float(model.layers),
        float(model.hidden),
        1.0 if model.latent is not None else float(model.kv_heads),
        float(always),
        float(embedding),
        routed,
        share,
        per_layer * full,
        passed * full,
        per_layer * windowed,
        float(window),
        attend * full,
        attend_window * seen_in_part,
        decode * full,
    )
