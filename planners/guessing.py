"""What replicas do without guesses in, what they do with tokens guessed ahead out; `speculation.py` has the ways."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from planners.layouts import lengths_of, middle_of, rows_of
from planners.performance.sources import bench_of
from planners.queueing import Replica
from planners.space import Space
from planners.speculation import Speculation
from planners.workload import Traffic
from schemas.model import ModelFacts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PROMPTS = ("prompt_s", "busy_s", "alone_s")


def speculated(model: ModelFacts, space: Space, traffic: Traffic, replica: Replica) -> Replica:
    """Where tokens are guessed, a step drafts and checks them and yields those accepted; prompts are read twice."""
    changed = {name: getattr(replica, name).copy() for name in ("tpot_s", "step_s", "tokens_s", *_PROMPTS)}
    for number, way in enumerate(space.ahead):
        cells = np.flatnonzero(space.speculation == number)
        if way.guesses and cells.size:
            step, plain, prompt = _guessed(model, space, traffic, cells, way)
            # As much slower or faster as measured kernels found the model's own steps.
            step = step * replica.step_s[cells] / plain
            tpot = replica.tpot_s[cells] + step - replica.step_s[cells]
            changed["tokens_s"][cells] *= replica.tpot_s[cells] / tpot
            changed["tpot_s"][cells], changed["step_s"][cells] = tpot, step
            for name in _PROMPTS:
                changed[name][cells] += prompt
    return replace(replica, **changed)


def _guessed(model: ModelFacts, space: Space, traffic: Traffic, cells: Ints, way: Speculation) -> tuple[Floats, ...]:
    """Seconds for each token of `cells`, guessed and not, (N, B), and for a draft's prompt (N, 1).

    Checking reads each sequence's cache once for all its guesses: that many more tokens at as much less context.
    """
    rows = rows_of(space, traffic, cells)
    batch, middle = space.batches.astype(np.float64), middle_of(traffic)
    checked = 1 + way.guesses
    bench = bench_of(model, *rows.layouts)
    step = bench.step(batch * checked, middle / checked)
    prompt = np.zeros((step.shape[0], 1))
    if way.head is not None:
        drafting = [replace(one, weight_format=way.head_format(one.weight_format)) for one in rows.layouts]
        draft = bench_of(way.head, *drafting)
        step = step + way.guesses * draft.step(batch, middle)
        prompt = draft.prefill(np.ones(1), lengths_of(rows.layouts))
    return tuple(array[rows.back] for array in (step / way.tokens_per_step, bench.step(batch, middle), prompt))
