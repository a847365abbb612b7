"""A space and the facts in, what each candidate does out: the same arrays that every later stage reads."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from planners.memory import Footprint, footprint
from planners.performance.sources import Layout, speeds
from planners.quality import loss
from planners.queueing import Latency, Replica, closed_loop, open_loop
from planners.space import Group, Space
from planners.workload import Traffic
from schemas.evidence import Estimate, Evidence
from schemas.model import ModelFacts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_KEY_RANGES = (2, 64, 64, 1 << 20, 1 << 12)
"""More than any prefix setting, tensor parallel size, pipeline depth, batched tokens and threads: packed into a key."""

_MOST_PROMPTS = 8.0
"""Prompts that a busy engine reads in one pass at the most, which spreads the cost of the pass."""

DRAFT_TOKENS = 3
ACCEPTED_PER_STEP = 1.2
"""Tokens that a step of n-gram speculation yields on ordinary chat: assumed; copying tasks give far more."""
SPECULATION_LOG_SD = 0.3
_NEVER_S = 1e9
"""Seconds that stand for what does not run at all: finite, so that arithmetic stays quiet."""


@dataclass(frozen=True)
class Served:
    """Speeds of one replica by cell and batch, whatever arrives; standard deviations of logarithms by group (G,)."""

    replica: Replica
    footprint: Footprint
    quality: tuple[Estimate, ...]
    sd_first: Floats
    sd_step: Floats
    sd_rate: Floats
    evidence: tuple[Evidence, ...]


def serve(model: ModelFacts, space: Space, traffic: Traffic) -> Served:
    """What every candidate does when it is as busy as its batch limit allows."""
    memory = footprint(model, space, traffic)
    cells, columns = space.group.size, space.batches.size
    prompt, busy, alone = (np.full((cells, 1), _NEVER_S) for _ in range(3))
    tpot, step = np.full((cells, columns), _NEVER_S), np.full((cells, columns), _NEVER_S)
    rate = np.full((cells, columns), 1e-9)
    sds = np.full((3, len(space.groups)), 0.3)
    fitting = np.bincount(space.group, memory.fits[:, 0], len(space.groups)) > 0
    here = np.flatnonzero(fitting[space.group])
    if here.size:
        found = _speeds_of(model, space, traffic, here)
        tpot[here], step[here], rate[here], prompt[here], busy[here], alone[here] = found.cells
        sds[:, fitting] = found.deviations[:, fitting]
    evidence = [Evidence.CALIBRATED if fits else Evidence.ASSUMED for fits in fitting.tolist()]
    passes = np.ceil(traffic.input_tokens / space.batched_tokens)[:, None] * (space.chunked[:, None] == 1)
    replica = Replica(
        space.batches.astype(np.float64), tpot, step, rate, prompt, busy, alone, passes, traffic.output_tokens
    )
    quality = tuple(
        _quality(model, group.weight_format, group.kv_format, importance=group.importance_matrix)
        for group in space.groups
    )
    return Served(_speculated(space, replica), memory, quality, sds[0], sds[1], sds[2], tuple(evidence))


@lru_cache(maxsize=4096)
def _quality(model: ModelFacts, weight_format: str, kv_format: str, *, importance: bool) -> Estimate:
    if weight_format == model.native_format:
        kept = loss(model, "BF16", importance_matrix=False, kv_format=kv_format)
        return kept.model_copy(update={"source": f"{weight_format} is what the model was published in"})
    return loss(model, weight_format, importance_matrix=importance, kv_format=kv_format)


@dataclass(frozen=True)
class _Found:
    """Arrays for the cells asked for, in the order that `serve` unpacks; deviations by group (3, G)."""

    cells: tuple[Floats, ...]
    deviations: Floats


def _speeds_of(model: ModelFacts, space: Space, traffic: Traffic, cells: Ints) -> _Found:
    """What `cells` do, from one call of the performance source for all layouts that differ in anything it reads."""
    kinds: dict[tuple[str, ...], int] = {}
    names = [(group.engine, group.accelerator.key, group.weight_format, group.kv_format) for group in space.groups]
    of_group = np.array([kinds.setdefault(name, len(kinds)) for name in names])
    leader = np.unique(of_group, return_index=True)[1]
    settings = (space.prefix, space.tp, space.pp, space.batched_tokens, space.threads)
    keys = np.ravel_multi_index(
        (of_group[space.group[cells]], *(setting[cells] for setting in settings)), (len(kinds), *_KEY_RANGES)
    )
    _, first, back = np.unique(keys, return_index=True, return_inverse=True)
    rows = cells[first]
    kind = of_group[space.group[rows]] * 2 + space.prefix[rows]
    starts = np.flatnonzero(np.diff(kind, prepend=-1))
    layouts = [
        _layout(space, traffic, space.groups[int(leader[kind[at] // 2])], part)
        for at, part in zip(starts, np.split(rows, starts[1:]), strict=True)
    ]
    found = speeds(model, *layouts)
    lengths = [np.full((layout.tp.shape[0], 1), float(layout.input_tokens)) for layout in layouts]
    length, tokens = np.concatenate(lengths), space.batched_tokens[rows][:, None]
    together = np.clip(np.floor(tokens / length), 1.0, _MOST_PROMPTS)
    middle = np.full(1, traffic.input_tokens + traffic.output_tokens / 2)
    arrays = (
        found.tpot_ms / 1e3,
        found.bench.step(layouts[0].batch.astype(np.float64), middle),
        found.output_tok_s,
        found.ttft_ms / 1e3,
        found.bench.prefill(together, length) / together,
        found.bench.prefill(np.ones(1), length),
    )
    deviations = np.full((3, len(kinds)), 0.3)
    deviations[:, kind[starts] // 2] = found.ttft_log_sd, found.tpot_log_sd, found.output_log_sd
    return _Found(tuple(array[back] for array in arrays), deviations[:, of_group])


def _layout(space: Space, traffic: Traffic, group: Group, rows: Ints) -> Layout:
    """The layouts of one kind of group whose prompts are cached or not alike."""
    cached = traffic.shared_prefix_tokens if space.prefix[rows[0]] else 0
    return Layout(
        engine=group.engine,
        accelerator=group.accelerator,
        weight_format=group.weight_format,
        kv_format=group.kv_format,
        input_tokens=max(1, traffic.input_tokens - cached),
        output_tokens=traffic.output_tokens,
        tp=space.tp[rows][:, None],
        pp=space.pp[rows][:, None],
        batch=space.batches[None, :],
        batched_tokens=space.batched_tokens[rows][:, None],
        threads=space.threads[rows][:, None],
    )


def _speculated(space: Space, replica: Replica) -> Replica:
    """Where tokens are guessed, a step costs what one with all the guesses costs and yields the accepted ones."""
    guessing = space.speculation > 0
    if not guessing.any():
        return replica
    wider = np.minimum(np.searchsorted(space.batches, space.batches * (1 + DRAFT_TOKENS)), space.batches.size - 1)
    guessed = replica.tpot_s[:, wider] / ACCEPTED_PER_STEP
    # Guesses shorten waits; a saturated server has no idle arithmetic to check them with, so they raise no capacity.
    rate = replica.tokens_s * np.minimum(1.0, replica.tpot_s / guessed)
    return replace(
        replica,
        tpot_s=np.where(guessing[:, None], guessed, replica.tpot_s),
        step_s=np.where(guessing[:, None], replica.step_s[:, wider] / ACCEPTED_PER_STEP, replica.step_s),
        tokens_s=np.where(guessing[:, None], rate, replica.tokens_s),
    )


def under(traffic: Traffic, space: Space, replica: Replica) -> Latency:
    """Latencies and capacity (all replicas together) of every candidate under the traffic."""
    replicas = space.replicas[:, None].astype(np.float64)
    if traffic.rate > 0:
        found = open_loop(replica, traffic.rate / replicas)
    elif traffic.batch_job:
        found = closed_loop(replica, np.full_like(replicas, space.batches[-1]))
    else:
        found = closed_loop(replica, traffic.concurrency / replicas)
    return replace(found, capacity=found.capacity * replicas)
