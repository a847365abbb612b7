"""A space and the facts in, what each candidate does out: the same arrays that every later stage reads."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from planners.memory import Footprint, footprint
from planners.performance.sources import Layout, bench_of, speeds
from planners.quality import loss
from planners.queueing import Latency, Replica, closed_loop, open_loop
from planners.space import Group, Space
from planners.speculation import Speculation
from planners.workload import Traffic
from schemas.evidence import Estimate, Evidence
from schemas.model import ModelFacts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_KEY_RANGES = (2, 64, 64, 1 << 20, 1 << 12)
"""More than any prefix setting, tensor parallel size, pipeline depth, batched tokens and threads: packed into a key."""

_MOST_PROMPTS = 8.0
"""Prompts that a busy engine reads in one pass at the most, which spreads the cost of the pass."""

_PROMPTS = ("prompt_s", "busy_s", "alone_s")
_NEVER_S = 1e9
"""Seconds that stand for what does not run at all: finite, so that arithmetic stays quiet."""


@dataclass(frozen=True)
class Served:
    """Speeds of one replica by cell and batch, whatever arrives; standard deviations of logarithms by group (G,)."""

    replica: Replica
    sustained: Floats
    """Output tokens per second of a saturated replica, (C, B): guesses raise none, as none has idle arithmetic."""
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
    rounds = busy + traffic.output_tokens * step / space.batches
    sustained = np.minimum(rate, traffic.output_tokens / rounds)
    guessed = _speculated(model, space, traffic, replica) if here.size else replica
    quality = tuple(
        _quality(model, group.weight_format, group.kv_format, importance=group.importance_matrix)
        for group in space.groups
    )
    return Served(guessed, sustained, memory, quality, sds[0], sds[1], sds[2], tuple(evidence))


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


@dataclass(frozen=True)
class _Rows:
    """Layouts that differ in anything the performance source reads, and the cells they stand for."""

    layouts: tuple[Layout, ...]
    kinds: Ints
    """Of each layout, what its group shares with others."""
    of_group: Ints
    tokens: Floats
    back: Ints
    """From each cell to its row."""


def _rows_of(space: Space, traffic: Traffic, cells: Ints) -> _Rows:
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
    layouts = tuple(
        _layout(space, traffic, space.groups[int(leader[kind[at] // 2])], part)
        for at, part in zip(starts, np.split(rows, starts[1:]), strict=True)
    )
    return _Rows(layouts, kind[starts] // 2, of_group, space.batched_tokens[rows].astype(np.float64)[:, None], back)


def _speeds_of(model: ModelFacts, space: Space, traffic: Traffic, cells: Ints) -> _Found:
    """What `cells` do, from one call of the performance source for all their layouts."""
    rows = _rows_of(space, traffic, cells)
    found = speeds(model, *rows.layouts)
    length = _lengths(rows.layouts)
    together = np.clip(np.floor(rows.tokens / length), 1.0, _MOST_PROMPTS)
    arrays = (
        found.tpot_ms / 1e3,
        found.bench.step(space.batches.astype(np.float64), _middle(traffic)),
        found.output_tok_s,
        found.ttft_ms / 1e3,
        found.bench.prefill(together, length) / together,
        found.bench.prefill(np.ones(1), length),
    )
    deviations = np.full((3, int(rows.of_group.max()) + 1), 0.3)
    deviations[:, rows.kinds] = found.ttft_log_sd, found.tpot_log_sd, found.output_log_sd
    return _Found(tuple(array[rows.back] for array in arrays), deviations[:, rows.of_group])


def _lengths(layouts: tuple[Layout, ...]) -> Floats:
    """Prompt tokens that are really read, by row (rows, 1)."""
    return np.concatenate([np.full((layout.tp.shape[0], 1), float(layout.input_tokens)) for layout in layouts])


def _middle(traffic: Traffic) -> Floats:
    """Tokens of context half way through an answer."""
    return np.full(1, traffic.input_tokens + traffic.output_tokens / 2)


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


def _speculated(model: ModelFacts, space: Space, traffic: Traffic, replica: Replica) -> Replica:
    """Where tokens are guessed, a step drafts and checks them and yields those accepted; prompts are read twice."""
    changed = {name: getattr(replica, name).copy() for name in ("tpot_s", "step_s", "tokens_s", *_PROMPTS)}
    for number, way in enumerate(space.ahead):
        cells = np.flatnonzero(space.speculation == number)
        if way.guesses and cells.size:
            step, prompt = _guessed(model, space, traffic, cells, way)
            tpot = replica.tpot_s[cells] + step - replica.step_s[cells]
            changed["tokens_s"][cells] *= replica.tpot_s[cells] / tpot
            changed["tpot_s"][cells], changed["step_s"][cells] = tpot, step
            for name in _PROMPTS:
                changed[name][cells] += prompt
    return replace(replica, **changed)


def _guessed(model: ModelFacts, space: Space, traffic: Traffic, cells: Ints, way: Speculation) -> tuple[Floats, Floats]:
    """Seconds for each token of `cells` (N, B) and for a draft's prompt (N, 1).

    Checking reads each sequence's cache once for all its guesses: that many more tokens at as much less context.
    """
    rows = _rows_of(space, traffic, cells)
    batch, middle = space.batches.astype(np.float64), _middle(traffic)
    checked = 1 + way.guesses
    step = bench_of(model, *rows.layouts).step(batch * checked, middle / checked)
    prompt = np.zeros((step.shape[0], 1))
    if way.head is not None:
        drafting = [replace(one, weight_format=way.head_format(one.weight_format)) for one in rows.layouts]
        bench = bench_of(way.head, *drafting)
        step = step + way.guesses * bench.step(batch, middle)
        prompt = bench.prefill(np.ones(1), _lengths(rows.layouts))
    return (step / way.tokens_per_step)[rows.back], prompt[rows.back]


def under(traffic: Traffic, space: Space, served: Served) -> Latency:
    """Latencies and capacity (all replicas together) of every candidate under the traffic."""
    replica = served.replica
    replicas = space.replicas[:, None].astype(np.float64)
    if traffic.rate > 0:
        counted = replace(replica, tokens_s=np.minimum(replica.tokens_s, served.sustained))
        found = open_loop(counted, traffic.rate / replicas)
    elif traffic.batch_job:
        found = closed_loop(replica, np.full_like(replicas, space.batches[-1]))
    else:
        found = closed_loop(replica, traffic.concurrency / replicas)
    return replace(found, capacity=found.capacity * replicas)
