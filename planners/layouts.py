"""A space and cells of it in, the layouts that differ in anything a performance source reads out, and the way back."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planners.performance.sources import Layout
from planners.space import Group, Space
from planners.workload import Traffic

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_KEY_RANGES = (2, 64, 64, 1 << 20, 1 << 12)
"""More than any prefix setting, tensor parallel size, pipeline depth, batched tokens and threads: packed into a key."""


@dataclass(frozen=True)
class Rows:
    """Layouts that differ in anything the performance source reads, and the cells they stand for."""

    layouts: tuple[Layout, ...]
    tokens: Floats
    back: Ints
    """From each cell to its row."""


def rows_of(space: Space, traffic: Traffic, cells: Ints) -> Rows:
    """The layouts behind `cells`, each once."""
    kinds: dict[tuple[str, ...], int] = {}
    names = [(group.engine, group.accelerator.key, group.weight_format, group.kv_format) for group in space.groups]
    of_group = np.array([kinds.setdefault(name, len(kinds)) for name in names])
    leader = np.unique(of_group, return_index=True)[1]
    tokens = space.pass_tokens(traffic.input_tokens)
    settings = (space.prefix, space.tp, space.pp, tokens, space.threads)
    keys = np.ravel_multi_index(
        (of_group[space.group[cells]], *(setting[cells] for setting in settings)), (len(kinds), *_KEY_RANGES)
    )
    _, first, back = np.unique(keys, return_index=True, return_inverse=True)
    rows = cells[first]
    kind = of_group[space.group[rows]] * 2 + space.prefix[rows]
    starts = np.flatnonzero(np.diff(kind, prepend=-1))
    layouts = tuple(
        _layout(space, traffic, space.groups[int(leader[kind[at] // 2])], part, tokens[part])
        for at, part in zip(starts, np.split(rows, starts[1:]), strict=True)
    )
    return Rows(layouts, tokens[rows].astype(np.float64)[:, None], back)


def lengths_of(layouts: tuple[Layout, ...]) -> Floats:
    """Prompt tokens that are really read, by row (rows, 1)."""
    return np.concatenate([np.full((layout.tp.shape[0], 1), float(layout.input_tokens)) for layout in layouts])


def middle_of(traffic: Traffic) -> Floats:
    """Tokens of context half way through an answer."""
    return np.full(1, traffic.input_tokens + traffic.output_tokens / 2)


def _layout(space: Space, traffic: Traffic, group: Group, rows: Ints, tokens: Ints) -> Layout:
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
        batched_tokens=tokens[:, None],
        threads=space.threads[rows][:, None],
    )
