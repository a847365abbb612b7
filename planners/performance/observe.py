"""Conditions of many measurements in, what the physics expects to be measured out; one array for all of them.

`benchmarks/fit.py` minimises what is left over; `predict` and `benchmarks/accuracy.py` ask for the same numbers.
"""

from dataclasses import dataclass, fields
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from planners.performance.calibration import Calibration, Parameters, Subject, family, traits
from planners.performance.formats import weight_format
from planners.performance.machines import Formats, Shape, machine_of
from planners.performance.physics import Bench, Machine
from planners.performance.published import Condition, Metric, Regime
from planners.performance.service import admitted, continuous, queued, static
from planners.performance.work import Work

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Record = TypeVar("Record", Work, Machine, Parameters)

_CHUNK = 8192.0


@dataclass(frozen=True)
class Observations:
    """Rows of conditions as arrays of shape (rows,)."""

    cases: tuple[Condition, ...]
    subjects: list[Subject]
    work: Work
    machine: Machine

    @classmethod
    def of(cls, cases: list[Condition]) -> Self:
        """The arrays of `cases`."""
        machines = [_machine(case) for case in cases]
        joined = Machine(*(np.concatenate([getattr(m, f.name) for m in machines]) for f in fields(Machine)))
        return cls(tuple(cases), [subject(case) for case in cases], Work.of([case.model for case in cases]), joined)

    def expected(self, known: Calibration) -> Floats:
        """What each row should measure: milliseconds for times, per second for rates."""
        return self.values(known.parameters(self.subjects), known.sharpness)

    def values(self, fitted: Parameters, sharpness: float) -> Floats:
        """The same with given parameters, one value a row each."""
        out = np.empty(len(self.cases))
        for regime in Regime:
            rows = np.array([i for i, case in enumerate(self.cases) if case.regime is regime], dtype=np.intp)
            if len(rows):
                bench = Bench(_pick(self.work, rows), _pick(self.machine, rows), _pick(fitted, rows), sharpness)
                out[rows] = self._measure(regime, rows, bench)
        return out

    def _measure(self, regime: Regime, rows: Rows, bench: Bench) -> Floats:
        """The metric of each of `rows`, which share a regime."""
        cases = [self.cases[i] for i in rows]
        length, output, batch = (np.array([getattr(case, name) for case in cases], dtype=np.float64) for name in _LOAD)
        beams = np.array([case.beams for case in cases], dtype=np.float64)
        if regime is Regime.STATIC:
            state = static(bench, batch, length, output)
        elif regime is Regime.LOOP:
            state = continuous(bench, batch, length, output)
        elif regime is Regime.QUEUED:
            state = queued(bench, length, output, beams)
        else:
            limit = np.array([case.limit_tpot for case in cases])
            state = admitted(bench, length, output, beams, limit)
        tail = np.array([case.tail for case in cases])
        ttft = state.ttft * np.where(tail, bench.fitted.ttft_tail, 1.0)
        tpot = state.tpot * np.where(tail, bench.fitted.tpot_tail, 1.0)
        devices = np.array([case.tp * case.pp * case.replicas if case.per_device else 1 for case in cases])
        replicas = np.array([case.replicas for case in cases])
        total = state.output * replicas / devices
        by_metric = {
            Metric.DECODE: batch / bench.step(np.maximum(batch, 1.0), length + output / 2),
            Metric.PREFILL: batch * length / bench.first_token(np.maximum(batch, 1.0), length),
            Metric.TTFT: ttft * 1e3,
            Metric.TPOT: tpot * 1e3,
            Metric.OUTPUT: total,
            Metric.REQUESTS: total / output,
        }
        return np.array([by_metric[case.metric][i] for i, case in enumerate(cases)])


_LOAD = ("length", "output", "batch")


def subject(case: Condition) -> Subject:
    """The names under which the effects of a row are looked up."""
    name, _, variant = case.engine.partition("/")
    return Subject(
        name,
        variant,
        family(case.accelerator),
        weight_format(case.weight_format).group,
        case.accelerator.key,
        traits(case.model, case.accelerator),
    )


def _machine(case: Condition) -> Machine:
    one = np.ones(1)
    names = Formats(case.engine, case.weight_format, case.kv_format)
    return machine_of(case.accelerator, names, Shape(one * case.tp, one * case.pp, one * _CHUNK, one * case.threads))


def _pick(record: Record, rows: Rows) -> Record:
    """The rows of every field of a record of arrays."""
    return type(record)(*(getattr(record, field.name)[rows] for field in fields(record)))
