"""Conditions of many measurements in, what the physics expects to be measured out; one array for all of them.

`benchmarks/fit.py` minimises what is left over; `predict` and `benchmarks/accuracy.py` ask for the same numbers.
"""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from planners.performance.calibration import Calibration, Parameters, Subject, subject_of
from planners.performance.kernels import Kernels
from planners.performance.machines import Formats, Shape, machine_of
from planners.performance.physics import Bench, Machine
from planners.performance.published import Condition, Metric, Regime
from planners.performance.service import Limits, Steady, admitted, arriving, continuous, queued, static
from planners.performance.work import Work

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

_CHUNK = 8192.0


@dataclass(frozen=True)
class Part:
    """The rows that share a regime, as arrays of shape (rows,); `metrics` holds places within it by metric."""

    regime: Regime
    rows: Rows
    work: Work
    machine: Machine
    length: Floats
    output: Floats
    batch: Floats
    beams: Floats
    limits: Limits
    tail: NDArray[np.bool_]
    scale: Floats
    """Replicas behind a total, or the share of one accelerator in it."""
    metrics: dict[Metric, Rows]
    kernels: Kernels | None = None

    @classmethod
    def of(cls, regime: Regime, rows: Rows, cases: list[Condition], kernels: Kernels | None) -> Self:
        """The rows `rows` of all, whose conditions are `cases`."""

        def column(name: str) -> Floats:
            return np.array([getattr(case, name) for case in cases], dtype=np.float64)

        machines = [_machine(case) for case in cases]
        devices = np.array([case.tp * case.pp * case.replicas if case.per_device else 1 for case in cases])
        kinds = {metric: np.array([i for i, case in enumerate(cases) if case.metric is metric]) for metric in Metric}
        return cls(
            regime=regime,
            rows=rows,
            work=Work.of([case.model for case in cases]),
            machine=Machine(*(np.concatenate([getattr(m, f.name) for m in machines]) for f in fields(Machine))),
            length=column("length"),
            output=column("output"),
            batch=np.where(column("batch") > 0, column("batch"), column("sent") if regime is Regime.QUEUED else 1.0),
            beams=column("beams"),
            limits=Limits(column("limit_ttft"), column("limit_tpot")),
            tail=np.array([case.tail for case in cases]),
            scale=column("replicas") / devices,
            metrics={metric: places.astype(np.intp) for metric, places in kinds.items() if places.size},
            kernels=kernels.pick(rows) if kernels is not None else None,
        )

    def measure(self, fitted: Parameters, sharpness: float) -> Floats:
        """What each row should measure, with parameters of one value a row."""
        bench = Bench(self.work, self.machine, fitted, sharpness, self.kernels)
        state = self._state(bench)
        out = np.empty(len(self.rows))
        for metric, places in self.metrics.items():
            out[places] = self._metric(metric, bench, state)[places]
        return out

    def _state(self, bench: Bench) -> Steady:
        if self.regime is Regime.STATIC:
            return static(bench, self.batch, self.length, self.output)
        if self.regime in {Regime.LOOP, Regime.STEP}:
            return continuous(bench, self.batch, self.length, self.output, in_step=self.regime is Regime.STEP)
        if self.regime is Regime.RATE:
            return arriving(bench, self.batch, self.length, self.output)
        if self.regime is Regime.QUEUED:
            return queued(bench, self.batch, self.length, self.output, self.beams)
        return admitted(bench, self.length, self.output, self.beams, self.limits)

    def _metric(self, metric: Metric, bench: Bench, state: Steady) -> Floats:
        if metric is Metric.DECODE:
            return self.batch / bench.step(self.batch, self.length + self.output / 2)
        if metric is Metric.PREFILL:
            return self.batch * self.length / bench.first_token(self.batch, self.length)
        if metric is Metric.TTFT:
            return 1e3 * np.where(self.tail, state.ttft_p99, state.ttft)
        if metric is Metric.TPOT:
            return 1e3 * np.where(self.tail, state.tpot_p99, state.tpot)
        return state.output * self.scale / (self.output if metric is Metric.REQUESTS else 1.0)


@dataclass(frozen=True)
class Observations:
    """Rows of conditions by regime, and the names under which their effects are looked up."""

    count: int
    subjects: list[Subject]
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, cases: list[Condition], kernels: Kernels | None = None) -> Self:
        """The arrays of `cases`; with `kernels` of as many rows, measured ones where they are known."""
        parts = []
        for regime in Regime:
            rows = np.array([i for i, case in enumerate(cases) if case.regime is regime], dtype=np.intp)
            if rows.size:
                parts.append(Part.of(regime, rows, [cases[i] for i in rows], kernels))
        return cls(len(cases), [subject(case) for case in cases], tuple(parts))

    def expected(self, known: Calibration) -> Floats:
        """What each row should measure: milliseconds for times, per second for rates."""
        return self.values(known.parameters(self.subjects), known.sharpness)

    def values(self, fitted: Parameters, sharpness: float) -> Floats:
        """The same with given parameters, one value a row each."""
        out = np.empty(self.count)
        for part in self.parts:
            out[part.rows] = part.measure(_pick(fitted, part.rows), sharpness)
        return out


def subject(case: Condition) -> Subject:
    """The names under which the effects of a row are looked up."""
    return subject_of(case.model, case.engine, case.accelerator, case.weight_format)


def _dealt(case: Condition) -> bool:
    """Whether ranks deal sequences, so that none caches what another does (attention data parallelism).

    So does TensorRT-LLM where rate alone counts for a mixture of experts, and under the limits of a suite where the
    cache is latent.
    """
    mixture = case.model.experts is not None and case.engine.startswith("tensorrt-llm")
    tuned = case.regime is Regime.QUEUED or (case.regime is Regime.POISSON and case.model.latent is not None)
    return mixture and tuned


def _machine(case: Condition) -> Machine:
    one = np.ones(1)
    names = Formats(case.engine, case.weight_format, case.kv_format)
    ranks = (case.tp, case.pp, _CHUNK, case.threads, case.tp if _dealt(case) else 1)
    return machine_of(case.accelerator, names, Shape(*(one * value for value in ranks)))


def _pick(record: Parameters, rows: Rows) -> Parameters:
    """The rows of every parameter."""
    return Parameters(*(getattr(record, field.name)[rows] for field in fields(record)))
