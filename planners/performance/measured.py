"""Layouts of a model in, what measured kernels say of them out: steps, times and rates by batch, row by row.

Kernels stand in for traffic, arithmetic and links in the same steady state as the fitted physics, under the
calibration of what comes on top of them. First tokens are left to the physics, which held-out rows found nearer.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from planners.performance.calibration import calibration, share_of_kernels
from planners.performance.forecast import spread_of
from planners.performance.observe import subject
from planners.performance.physics import Bench, Machine
from planners.performance.published import Condition, Metric, Regime
from planners.performance.service import continuous
from planners.performance.silicon import kernels_of
from planners.performance.sources import Layout, bench_of
from schemas.model import ModelFacts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PLANNED_KV = frozenset({"FP16", "FP8"})
"""Caches that the database has kernels for."""
_KINDS = ("tpot", "throughput-kernel")
"""Classes of speed that it is asked about."""


@dataclass(frozen=True)
class Measured:
    """Rows (K,) that kernels are known for, among all rows of the layouts; seconds and tokens per second, (K, B)."""

    rows: Ints
    tpot_s: Floats
    step_s: Floats
    tokens_s: Floats
    tpot_sd: Floats
    rate_sd: Floats
    """Deviations of logarithms, (K,)."""
    step_share: Floats
    rate_share: Floats
    """How much kernels count beside the physics in times per token and in rates where nobody is near, (K, 1)."""
    step_closer: float
    rate_closer: float
    """What the closest company leaves of these deviations."""
    rates: NDArray[np.bool_]
    """Whether the saturated rate is known too: not for mixtures of experts, whose routing the tables idealise."""


def measured(model: ModelFacts, *layouts: Layout) -> Measured | None:
    """What is known of `layouts`, whose rows follow each other and share batches; None where nothing is."""
    cases = [case for layout in layouts for case in _cases(model, layout)]
    asked = np.flatnonzero([case.kv_format in _PLANNED_KV for case in cases])
    kernels = kernels_of([cases[row] for row in asked])
    known = ~np.isnan(kernels.prompt)
    rows = asked[known]
    if rows.size == 0:
        return None
    kept = [cases[row] for row in rows]
    tables = kernels.pick(np.flatnonzero(known))
    plain, fitted = bench_of(model, *layouts), calibration(silicon=True)
    machine = Machine(*(getattr(plain.machine, field.name)[rows, 0] for field in fields(Machine)))
    subjects = [subject(case) for case in kept]
    bench = Bench(plain.work, machine, fitted.parameters(subjects), fitted.sharpness, tables)
    length, output = (np.array([getattr(case, name) for case in kept]) for name in ("length", "output"))
    found = []
    for batch in layouts[0].batch.ravel().tolist():
        many = np.full(rows.size, float(batch))
        state = continuous(bench, many, length, output)
        found.append((state.tpot, bench.step(many, length + output / 2), state.output))
    tpot, step, rate = (np.stack(column, axis=1) for column in zip(*found, strict=True))
    deviations = [
        [spread_of(replace(case, metric=metric), silicon=True) for case in kept]
        for metric in (Metric.TPOT, Metric.OUTPUT)
    ]
    tpot_sd, rate_sd = np.array(deviations)
    step_share, rate_share = (np.array([[share_of_kernels(kind, who)] for who in subjects]) for kind in _KINDS)
    step_closer, rate_closer = (fitted.widths.closest(kind, Regime.LOOP.value) for kind in _KINDS)
    asked_rates = np.full(rows.size, model.experts is None)
    return Measured(
        rows, tpot, step, rate, tpot_sd, rate_sd, step_share, rate_share, step_closer, rate_closer, asked_rates
    )


def _cases(model: ModelFacts, layout: Layout) -> list[Condition]:
    """A closed loop on each row of a layout."""
    return [
        Condition(
            model=model,
            accelerator=layout.accelerator,
            engine=layout.engine,
            weight_format=layout.weight_format,
            kv_format=layout.kv_format,
            count=tp * pp,
            tp=tp,
            pp=pp,
            replicas=1,
            threads=threads,
            length=float(layout.input_tokens),
            output=float(layout.output_tokens),
            beams=1,
            batch=1.0,
            regime=Regime.LOOP,
            metric=Metric.TPOT,
            tail=False,
            per_device=False,
            limit_ttft=0.0,
            limit_tpot=0.0,
        )
        for tp, pp, threads in zip(
            *(getattr(layout, name).ravel().tolist() for name in ("tp", "pp", "threads")), strict=True
        )
    ]
