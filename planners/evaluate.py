"""A space and the facts in, what each candidate does out: the same arrays that every later stage reads."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from planners.guessing import speculated
from planners.layouts import lengths_of, middle_of, rows_of
from planners.memory import Footprint, footprint
from planners.performance.around import around
from planners.performance.calibration import joined, on_kernels
from planners.performance.measured import measured
from planners.performance.sources import speeds
from planners.quality import loss
from planners.queueing import Latency, Replica, closed_loop, open_loop
from planners.space import Space
from planners.workload import Traffic
from schemas.evidence import Estimate, Evidence
from schemas.model import ModelFacts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Evidences = NDArray[np.object_]

_MOST_PROMPTS = 8.0
"""Prompts that a busy engine reads in one pass at the most, which spreads the cost of the pass."""

_NEVER_S = 1e9
"""Seconds that stand for what does not run at all: finite, so that arithmetic stays quiet."""


@dataclass(frozen=True)
class Served:
    """Speeds of one replica by cell and batch, whatever arrives; deviations (C, B), first tokens' (C, 1)."""

    replica: Replica
    sustained: Floats
    """Output tokens per second of a saturated replica, (C, B): guesses raise none, as none has idle arithmetic."""
    footprint: Footprint
    quality: tuple[Estimate, ...]
    sd_first: Floats
    sd_step: Floats
    sd_rate: Floats
    step_evidence: Evidences
    rate_evidence: Evidences
    """Of times per token and of rates, by cell; other times are calibrated."""


def serve(model: ModelFacts, space: Space, traffic: Traffic, *, silicon: bool) -> Served:
    """What every candidate does when it is as busy as its batch limit allows; `silicon` asks measured kernels too."""
    memory = footprint(model, space, traffic)
    cells, columns = space.group.size, space.batches.size
    prompt, busy, alone = (np.full((cells, 1), _NEVER_S) for _ in range(3))
    tpot, step = np.full((cells, columns), _NEVER_S), np.full((cells, columns), _NEVER_S)
    rate = np.full((cells, columns), 1e-9)
    first_sd, step_sd, rate_sd = (np.full((cells, width), 0.3) for width in (1, columns, columns))
    evidence = [np.full(cells, Evidence.ASSUMED, dtype=np.object_) for _ in range(2)]
    fitting = np.bincount(space.group, memory.fits[:, 0], len(space.groups)) > 0
    here = np.flatnonzero(fitting[space.group])
    if here.size:
        found = _speeds_of(model, space, traffic, here, silicon=silicon)
        tpot[here], step[here], rate[here], prompt[here], busy[here], alone[here] = found.cells
        first_sd[here], step_sd[here], rate_sd[here] = found.deviations
        for kept, measured_here in zip(evidence, found.kernels, strict=True):
            kept[here], kept[here[measured_here]] = Evidence.CALIBRATED, Evidence.SILICON
    passes = np.ceil(traffic.input_tokens / space.batched_tokens)[:, None] * (space.chunked[:, None] == 1)
    replica = Replica(
        space.batches.astype(np.float64),
        tpot,
        step,
        rate,
        prompt,
        busy,
        alone,
        passes,
        space.joins,
        traffic.output_tokens,
    )
    rounds = busy + traffic.output_tokens * step / space.batches
    sustained = np.minimum(rate, traffic.output_tokens / rounds)
    guessed = speculated(model, space, traffic, replica) if here.size else replica
    quality = tuple(
        _quality(model, group.weight_format, group.kv_format, importance=group.importance_matrix)
        for group in space.groups
    )
    return Served(guessed, sustained, memory, quality, first_sd, step_sd, rate_sd, *evidence)


@lru_cache(maxsize=4096)
def _quality(model: ModelFacts, weight_format: str, kv_format: str, *, importance: bool) -> Estimate:
    if weight_format == model.native_format:
        kept = loss(model, "BF16", importance_matrix=False, kv_format=kv_format)
        return kept.model_copy(update={"source": f"{weight_format} is what the model was published in"})
    return loss(model, weight_format, importance_matrix=importance, kv_format=kv_format)


@dataclass(frozen=True)
class _Found:
    """Arrays for the cells asked for, in the order that `serve` unpacks; deviations of first token, step and rate."""

    cells: tuple[Floats, ...]
    deviations: tuple[Floats, ...]
    kernels: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    """Where steps, and where rates, stand on measured kernels."""


def _speeds_of(model: ModelFacts, space: Space, traffic: Traffic, cells: Ints, *, silicon: bool) -> _Found:
    """What `cells` do, from one call of the performance sources for all their layouts."""
    rows = rows_of(space, traffic, cells)
    found = speeds(model, *rows.layouts)
    length = lengths_of(rows.layouts)
    together = np.clip(np.floor(rows.tokens / length), 1.0, _MOST_PROMPTS)
    tpot, rate = found.tpot_ms / 1e3, found.output_tok_s
    step = found.bench.step(space.batches.astype(np.float64), middle_of(traffic))
    sizes = [layout.tp.shape[0] for layout in rows.layouts]
    first_sd, step_sd, rate_sd = (
        np.repeat(column, sizes)[:, None] for column in (found.ttft_log_sd, found.tpot_log_sd, found.output_log_sd)
    )
    steps, rates = np.zeros((2, sum(sizes)), dtype=np.bool_)
    near = around(model, *rows.layouts)
    better = measured(model, *rows.layouts) if silicon else None
    if better is not None:
        kept = better.rows[better.rates]
        share = better.step_share * (1 - near.step.company[better.rows])
        tpot[better.rows] = joined(tpot[better.rows], better.tpot_s, share)
        step[better.rows] = joined(step[better.rows], better.step_s, share)
        share = better.rate_share[better.rates] * (1 - near.rate.company[kept])
        rate[kept] = joined(rate[kept], better.tokens_s[better.rates], share)
        step_sd[better.rows, 0], rate_sd[kept, 0] = better.tpot_sd, better.rate_sd[better.rates]
        steps[better.rows] = on_kernels(near.step.company[better.rows].mean(axis=1))
        rates[kept] = on_kernels(near.rate.company[kept].mean(axis=1))
        near = replace(
            near,
            step=near.step.known(better.rows, better.step_closer),
            rate=near.rate.known(kept, better.rate_closer),
        )
    arrays = (
        tpot * near.step.slower,
        step * near.step.slower,
        rate / near.rate.slower,
        found.ttft_ms / 1e3 * near.first.slower,
        found.bench.prefill(together, length) / together * near.prompt.slower,
        found.bench.prefill(np.ones(1), length) * near.prompt.slower,
    )
    back = rows.back
    return _Found(
        tuple(array[back] for array in arrays),
        tuple(
            (sd * said.narrower)[back]
            for sd, said in ((first_sd, near.first), (step_sd, near.step), (rate_sd, near.rate))
        ),
        (steps[back], rates[back]),
    )


def under(traffic: Traffic, space: Space, served: Served) -> Latency:
    """Latencies and capacity (all replicas together) of every candidate under the traffic."""
    replicas = space.replicas[:, None].astype(np.float64)
    replica, at_work = served.replica, replicas
    saturated = replace(replica, tokens_s=np.minimum(replica.tokens_s, served.sustained))
    if traffic.rate > 0:
        found = open_loop(saturated, traffic.rate / replicas)
    elif traffic.batch_job:
        found = closed_loop(saturated, np.full_like(replicas, space.batches[-1]))
    else:
        # A replica without a request open does nothing.
        at_work = np.minimum(replicas, traffic.concurrency)
        found = closed_loop(replica, traffic.concurrency / replicas)
    return replace(found, capacity=found.capacity * at_work)
