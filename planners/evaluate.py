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

_KEY_RANGES = (64, 64, 1 << 20, 1 << 12)
"""More than any tensor parallel size, pipeline depth, batched tokens and number of threads: they pack into one key."""

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
    count = len(space.groups)
    cells, columns = space.group.size, space.batches.size
    prompt, busy, alone = (np.full((cells, 1), _NEVER_S) for _ in range(3))
    tpot, step = np.full((cells, columns), _NEVER_S), np.full((cells, columns), _NEVER_S)
    rate = np.full((cells, columns), 1e-9)
    sds = np.full((3, count), 0.3)
    evidence = [Evidence.ASSUMED] * count
    known: dict[tuple[object, ...], tuple[Floats, ...]] = {}
    bounds = np.searchsorted(space.group, np.arange(count + 1))
    some_fit = memory.fits[:, :1].ravel()
    for index, group in enumerate(space.groups):
        rows = slice(int(bounds[index]), int(bounds[index + 1]))
        if not some_fit[rows].any():
            continue
        key = (group.engine, group.accelerator.key, group.weight_format, group.kv_format)
        if key not in known:
            known[key] = _speeds_of(model, space, traffic, group, rows)
        tpot[rows], step[rows], rate[rows], prompt[rows], busy[rows], alone[rows], sds[:, index] = known[key]
        evidence[index] = Evidence.CALIBRATED
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


def _speeds_of(model: ModelFacts, space: Space, traffic: Traffic, group: Group, rows: slice) -> tuple[Floats, ...]:
    """Arrays for the cells of one group, from one call of the performance source for each input length."""
    settings = np.stack([space.tp[rows], space.pp[rows], space.batched_tokens[rows], space.threads[rows]])
    prefix = space.prefix[rows]
    keys = np.ravel_multi_index(tuple(settings), _KEY_RANGES)
    columns = space.batches.size
    shape = (settings.shape[1], columns)
    tpot, step, rate = np.empty(shape), np.empty(shape), np.empty(shape)
    prompt, busy, alone = (np.empty((shape[0], 1)) for _ in range(3))
    sds = np.zeros(3)
    for cached in np.unique(prefix):
        here = prefix == cached
        _, first, inverse = np.unique(keys[here], return_index=True, return_inverse=True)
        tp, pp, tokens, threads = settings[:, here][:, first][:, :, None]
        read = max(1, traffic.input_tokens - (traffic.shared_prefix_tokens if cached else 0))
        layout = Layout(
            engine=group.engine,
            accelerator=group.accelerator,
            weight_format=group.weight_format,
            kv_format=group.kv_format,
            input_tokens=read,
            output_tokens=traffic.output_tokens,
            tp=tp,
            pp=pp,
            batch=space.batches[None, :],
            batched_tokens=tokens,
            threads=threads,
        )
        found = speeds(model, layout)
        together = np.clip(np.floor(tokens / read), 1.0, _MOST_PROMPTS)
        length = np.full(1, float(read))
        middle = np.full(1, traffic.input_tokens + traffic.output_tokens / 2)
        tpot[here] = found.tpot_ms[inverse] / 1e3
        rate[here] = found.output_tok_s[inverse]
        prompt[here] = found.ttft_ms[inverse] / 1e3
        busy[here] = (found.bench.prefill(together, length) / together)[inverse]
        alone[here] = found.bench.prefill(np.ones(1), length)[inverse]
        step[here] = found.bench.step(layout.batch.astype(np.float64), middle)[inverse]
        sds = np.array([found.ttft_log_sd, found.tpot_log_sd, found.output_log_sd])
    return tpot, step, rate, prompt, busy, alone, sds


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
