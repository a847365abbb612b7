"""A space in, gigabytes of one replica by part out: weights, KV cache at the batch limit, activations, runtime."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planners.performance.service import USABLE
from planners.sizes import kv_bytes_per_sequence, weight_bytes
from planners.space import Group, Space
from planners.speculation import Speculation
from planners.workload import Traffic
from schemas.hardware import Accelerator, AcceleratorKind
from schemas.model import ModelFacts

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_RUNTIME_GB = {AcceleratorKind.GPU: 1.5, AcceleratorKind.UNIFIED: 1.0, AcceleratorKind.CPU: 0.25}
"""Contexts, kernels, captured graphs per accelerator: assumed from engines' logs at start."""
_MIN_CONTEXT = 2048
_ROUND_CONTEXT = 256


@dataclass(frozen=True)
class Footprint:
    """Gigabytes per replica, shapes (C, B); `room_gb` is what the replica may use, shape (C, 1)."""

    weights_gb: Floats
    kv_cache_gb: Floats
    activations_gb: Floats
    runtime_gb: Floats
    room_gb: Floats

    @property
    def total_gb(self) -> Floats:
        """All parts, (C, B)."""
        return self.weights_gb + self.kv_cache_gb + self.activations_gb + self.runtime_gb

    @property
    def fits(self) -> Bools:
        """Where a replica's parts fit into its accelerators, (C, B)."""
        return self.total_gb <= self.room_gb


def context_of(model: ModelFacts, traffic: Traffic) -> int:
    """Tokens that one sequence may hold: a quarter more than the workload needs, rounded up."""
    wanted = max(_MIN_CONTEXT, int(-(-traffic.tokens * 1.25 // _ROUND_CONTEXT) * _ROUND_CONTEXT))
    return min(model.context, max(wanted, traffic.tokens))


def footprint(model: ModelFacts, space: Space, traffic: Traffic) -> Footprint:
    """Memory of every candidate."""
    # (speculations, groups): the model's own, and what drafts for it.
    weights = np.array([[_weights(model, group, way) for group in space.groups] for way in space.ahead])
    sequence = np.array([[_sequence(model, group, way, traffic) for group in space.groups] for way in space.ahead])
    own = (space.speculation, space.group)
    runtime = np.array([_RUNTIME_GB.get(group.accelerator.kind, 1.0) for group in space.groups])
    room = np.array([_room_gb(group.accelerator) for group in space.groups])
    devices = (space.tp * space.pp).astype(np.float64)
    batch = space.batches[None, :].astype(np.float64)
    # Keys and values are copied where there are more devices than heads to share out.
    heads = 1 if model.latent else model.kv_heads
    copies = np.maximum(space.tp / heads, 1.0)[:, None]
    tokens = np.maximum(space.pass_tokens(traffic.input_tokens)[:, None], batch)
    width = 4 * model.hidden * space.tp + 2 * model.intermediate
    activations = 2 * tokens * width[:, None] + 4 * batch * model.vocab
    ones = np.ones_like(batch)
    return Footprint(
        weights_gb=weights[own][:, None] * ones / 1e9,
        kv_cache_gb=sequence[own][:, None] * copies * batch / 1e9,
        activations_gb=activations / 1e9,
        runtime_gb=(runtime[space.group] * devices)[:, None] * ones,
        room_gb=(room[space.group] * devices)[:, None],
    )


def _weights(model: ModelFacts, group: Group, way: Speculation) -> float:
    own = weight_bytes(model, group.weight_format)
    return own if way.head is None else own + weight_bytes(way.head, way.head_format(group.weight_format))


def _sequence(model: ModelFacts, group: Group, way: Speculation, traffic: Traffic) -> float:
    """llama.cpp reserves whole contexts at start; the others page."""
    tokens = context_of(model, traffic) if group.engine == "llama.cpp" else traffic.tokens
    heads = [model] if way.head is None else [model, way.head]
    return sum(kv_bytes_per_sequence(one, group.kv_format, tokens) for one in heads)


def _room_gb(accelerator: Accelerator) -> float:
    return accelerator.memory_gb * USABLE
