"""Fit the efficiencies of the physics to published measurements; write `planners/data/performance.json`.

    python -m benchmarks.fit

Least squares of the logarithms of predicted over measured, with a robust loss. Every effect has a normal prior around
zero whose width depends on how specific the effect is, so that what few rows say stays small.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, load
from planners.performance.calibration import PARAMETERS, Calibration, Parameters
from planners.performance.observe import Observations

Floats = NDArray[np.float64]

OUT = Path(__file__).parents[1] / "planners" / "data" / "performance.json"
FILES = ("perf_reference.csv", "silicon_rows.csv")
SHARPNESS = 3.0
NOISE = 0.10
"""Logarithmic standard deviation of a measurement that the physics could not explain better: a year of versions."""

BASE = {
    "bandwidth": 0.75,
    "cache": 0.6,
    "prefill": 0.5,
    "decode": 0.4,
    "layer_us": 10.0,
    "step_us": 500.0,
    "sequence_us": 8.0,
    "reduce_us": 10.0,
    "link": 0.5,
    "first_us": 3000.0,
    "eager_us": 60.0,
    "read_us": 1.0,
    "stagger": 0.08,
    "fill": 0.8,
    "load": 0.9,
    "ttft_tail": 2.0,
    "tpot_tail": 1.15,
}
# Widths of the priors by the kind of effect; the part of a key before each "=" names its kind.
WIDTHS = {
    "engine": 0.5,
    "family": 0.25,
    "format": 0.3,
    "engine|format": 0.2,
    "engine|family": 0.2,
    "family|format": 0.15,
    "accelerator": 0.10,
    "variant": 0.3,
    "trait": 0.3,
    "engine|trait": 0.2,
    "variant|trait": 0.3,
    "variant|format": 0.2,
}
_WHO = {"engine", "variant", "family", "engine|family", "trait"}
APPLIES = {
    "bandwidth": set(WIDTHS),
    "cache": _WHO | {"engine|trait", "variant|trait"},
    "prefill": set(WIDTHS),
    "decode": set(WIDTHS),
    "layer_us": _WHO | {"format", "engine|trait", "engine|format"},
    "step_us": {"engine", "variant", "family"},
    "sequence_us": {"engine", "variant", "family"},
    "reduce_us": {"engine", "variant", "family", "trait"},
    "link": {"engine", "family", "trait"},
    "first_us": _WHO | {"engine|family"},
    "eager_us": _WHO | {"engine|family"},
    "read_us": _WHO,
    "stagger": {"engine", "variant"},
    "fill": _WHO | {"engine|trait", "format"},
    "load": {"engine", "variant"},
    "ttft_tail": {"engine", "variant"},
    "tpot_tail": {"engine", "variant"},
}
BASE_WIDTH = 0.7
ROUNDS = 18
DELTA = 1e-3
LONGEST = 0.5
"""Longest step of a logarithm in one round."""
TOLERATED = 0.25
"""Logarithmic error beyond which a row counts less and less."""
CROWDING = 0.25
SERVED = 0.6
"""Weight of rows of loaded servers: many layouts of few models by many hands, so each says less."""
LEAST = 0.004
"""Effects smaller than this are left out."""


@dataclass(frozen=True)
class Slot:
    """One unknown: a parameter's base, or one of its effects."""

    parameter: str
    key: str
    width: float


def kind_of(key: str) -> str:
    """The kind of an effect's key: `engine=vllm|format=fp8` is `engine|format`."""
    return "|".join(part.split("=")[0] for part in key.split("|"))


def slots(observations: Observations) -> list[Slot]:
    """All unknowns that the rows can say something about."""
    keys = Counter(key for subject in observations.subjects for key in subject.keys())
    found = [Slot(name, "", BASE_WIDTH) for name in PARAMETERS]
    for name in PARAMETERS:
        allowed = [key for key in sorted(keys) if kind_of(key) in APPLIES[name]]
        found += [Slot(name, key, WIDTHS[kind_of(key)]) for key in allowed]
    return found


def fit(rows: list[Row], rounds: int = ROUNDS) -> Calibration:
    """The calibration that explains `rows` best within the priors: Gauss-Newton with reweighting (Cauchy loss)."""
    observations = Observations.of([row.case for row in rows])
    unknowns = slots(observations)
    actual = np.log([row.value for row in rows])
    trust = weights(rows) / NOISE
    prior = np.diag([slot.width**-2.0 for slot in unknowns])
    designs = _designs(observations, unknowns)
    x = np.zeros(len(unknowns))
    for turn in range(rounds):
        tolerated = TOLERATED * max(1.0, 6.0 - turn)
        logs = np.stack([design @ x for design in designs])
        left = actual - np.log(observations.values(_parameters(logs), SHARPNESS))
        slopes = _slopes(observations, logs, actual - left)
        robust = trust / np.sqrt(1 + (left / tolerated) ** 2)
        jacobian = sum(design * (slope * robust)[:, None] for design, slope in zip(designs, slopes, strict=True))
        pull = jacobian.T @ (left * robust) - prior @ x
        step = np.linalg.solve(jacobian.T @ jacobian + prior, pull)
        x += np.clip(step, -LONGEST, LONGEST)
    return _calibration(unknowns, x)


def weights(rows: list[Row]) -> Floats:
    """Square roots of how much each row counts: large groups of like rows count less than their number."""
    sizes = Counter((row.source, row.kind, row.case.model.name) for row in rows)
    found = np.array([sizes[row.source, row.kind, row.case.model.name] ** -CROWDING for row in rows])
    served = np.array([row.source.startswith("silicon") for row in rows])
    return found * np.where(served, SERVED, 1.0)


def _designs(observations: Observations, unknowns: list[Slot]) -> list[Floats]:
    """For each parameter which unknowns enter each row's logarithm, shape (rows, unknowns)."""
    index = {(slot.parameter, slot.key): i for i, slot in enumerate(unknowns)}
    found = [np.zeros((len(observations.cases), len(unknowns))) for _ in PARAMETERS]
    for design, name in zip(found, PARAMETERS, strict=True):
        design[:, index[name, ""]] = 1.0
        for row, subject in enumerate(observations.subjects):
            for key in subject.keys():
                column = index.get((name, key))
                if column is not None:
                    design[row, column] = 1.0
    return found


def _parameters(logs: Floats) -> Parameters:
    return Parameters(*(BASE[name] * np.exp(row) for name, row in zip(PARAMETERS, logs, strict=True)))


def _slopes(observations: Observations, logs: Floats, at: Floats) -> list[Floats]:
    """Derivatives of each row's logarithm by the logarithm of each parameter, by forward differences."""
    found = []
    for i in range(len(PARAMETERS)):
        moved = logs.copy()
        moved[i] += DELTA
        found.append((np.log(observations.values(_parameters(moved), SHARPNESS)) - at) / DELTA)
    return found


def _calibration(unknowns: list[Slot], x: Floats) -> Calibration:
    base = {name: float(BASE[name] * np.exp(x[i])) for i, name in enumerate(PARAMETERS)}
    effects: dict[str, dict[str, float]] = defaultdict(dict)
    for slot, value in zip(unknowns, x, strict=True):
        if slot.key and abs(value) >= LEAST:
            effects[slot.parameter][slot.key] = round(float(value), 4)
    return Calibration(base, dict(effects), {}, SHARPNESS)


def main() -> None:
    """Fit all rows, print what is left over by class, write the calibration."""
    rows = load(*FILES)
    known = fit(rows)
    errors = np.log(Observations.of([row.case for row in rows]).expected(known)) - np.log([r.value for r in rows])
    for name in sorted({(row.kind, row.source) for row in rows}):
        part = np.abs(np.expm1(errors[[i for i, row in enumerate(rows) if (row.kind, row.source) == name]]))
        bias = np.median(errors[[i for i, row in enumerate(rows) if (row.kind, row.source) == name]])
        print(f"{name[0]:22s} {name[1]:22s} {len(part):5d} {np.median(part):7.1%} {np.quantile(part, .9):7.1%} {bias:+.3f}")
    print({k: round(v, 3) for k, v in known.base.items()}, sum(map(len, known.effects.values())))


if __name__ == "__main__":
    main()
