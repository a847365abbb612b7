"""Fit the physics to published measurements and weigh what it leaves, for `predict` and plans.

    python -m benchmarks.fit

Into `planners/data`: `performance.json` and `neighbours.csv`. It needs the kernel database (the extra `silicon`) and
takes half an hour on two cores. Least squares of the logarithms of predicted over measured, with a robust loss
and the priors of `priors.py`.
"""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.priors import BASE, EXPECTED, Slot, slots
from benchmarks.rows import Row, load
from planners.performance.calibration import PARAMETERS, Calibration, Parameters, Widths
from planners.performance.kernels import Kernels
from planners.performance.observe import Observations
from planners.performance.places import Places
from planners.performance.silicon import available, kernels_of

if TYPE_CHECKING:
    from benchmarks.holdout import Miss

Floats = NDArray[np.float64]

OUT = Path(__file__).parents[1] / "planners" / "data" / "performance.json"
FILES = ("perf_reference.csv", "perf_collected.csv", "perf_measured.csv", "silicon_rows.csv")
SHARPNESS = 3.0
NOISE = 0.10
"""Logarithmic standard deviation of a measurement that the physics could not explain better: a year of versions."""

ROUNDS, HASTY = 24, 6
"""Rounds, and after how many of them steps are halved: parameters that share what a step costs overshoot in turns."""
DELTA = 1e-3
LONGEST = 0.5
"""Longest step of a logarithm in one round."""
TOLERATED = 0.25
"""Logarithmic error beyond which a row counts less and less."""
CROWDING = 0.25
BORROWED = 0.45
"""Weight of rows other than `throughput-elsewhere`: many rates and layouts of few models on few accelerators, whose
errors are alike within a model and accelerator, so that each says less."""
UNDER_LOAD = frozenset({"stagger", "client_us", "crowd", "ttft_tail"})
"""What listens to first tokens under load, and to nothing else: they scatter so much that they spoilt what they share
with the rest (held-out first tokens of idle servers missed by 20 % instead of 13 %)."""
LEAST = 0.004
"""Effects smaller than this are left out."""


def fit(rows: list[Row], kernels: Kernels | None = None) -> Calibration:
    """The calibration that explains `rows` best within the priors: Gauss-Newton with reweighting (Cauchy loss)."""
    observations = Observations.of([row.case for row in rows], kernels)
    unknowns = slots(observations)
    actual = np.log([row.value for row in rows])
    trust = weights(rows) / NOISE
    prior = np.array([slot.width**-2.0 for slot in unknowns], dtype=np.float32)
    under_load = np.array([row.kind == "ttft-loaded" for row in rows])
    designs = _designs(observations, unknowns)
    centre = np.array([slot.centre for slot in unknowns])
    x = centre.copy()
    for turn in range(ROUNDS):
        tolerated = TOLERATED * max(1.0, 6.0 - turn)
        logs = np.stack([design @ x[columns] for columns, design in designs])
        left = actual - np.log(observations.values(_parameters(logs), SHARPNESS))
        slopes = _slopes(observations, logs, actual - left)
        robust = trust / np.sqrt(1 + (left / tolerated) ** 2)
        jacobian = np.zeros((observations.count, len(unknowns)), dtype=np.float32)
        for name, (columns, design), slope in zip(PARAMETERS, designs, slopes, strict=True):
            heard = robust * (under_load if name in UNDER_LOAD else ~under_load)
            jacobian[:, columns] = design * (slope * heard)[:, None]
        pull = jacobian.T @ (left * robust).astype(np.float32) - prior * (x - centre)
        step = np.linalg.solve(jacobian.T @ jacobian + np.diag(prior), pull)
        x += np.clip(step, -LONGEST, LONGEST) * (1.0 if turn < HASTY else 0.5)
    seen = frozenset(name for who in observations.subjects for _, name in who.names())
    return _calibration(unknowns, x, seen)


def weights(rows: list[Row]) -> Floats:
    """Square roots of how much each row counts: large groups of like rows count less than their number."""
    sizes = Counter((row.source, row.kind, row.case.model.name) for row in rows)
    found = np.array([sizes[row.source, row.kind, row.case.model.name] ** -CROWDING for row in rows])
    return found * np.where([row.kind == "throughput-elsewhere" for row in rows], 1.0, BORROWED)


def _designs(observations: Observations, unknowns: list[Slot]) -> list[tuple[slice, Floats]]:
    """For each parameter its unknowns, and which of them enter each row's logarithm, shape (rows, its unknowns)."""
    found = []
    for name in PARAMETERS:
        places = [i for i, slot in enumerate(unknowns) if slot.parameter == name]
        index = {unknowns[i].key: i - places[0] for i in places}
        design = np.zeros((observations.count, len(places)))
        design[:, index[""]] = 1.0
        for row, subject in enumerate(observations.subjects):
            design[row, [index[key] for key in subject.effects() if key in index]] = 1.0
        found.append((slice(places[0], places[-1] + 1), design))
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


def _calibration(unknowns: list[Slot], x: Floats, seen: frozenset[str]) -> Calibration:
    base: dict[str, float] = {}
    effects: dict[str, dict[str, float]] = defaultdict(dict)
    for slot, value in zip(unknowns, x, strict=True):
        if not slot.key:
            base[slot.parameter] = float(BASE[slot.parameter] * np.exp(value))
        elif abs(value) >= LEAST:
            effects[slot.parameter][slot.key] = round(float(value), 4)
    for (parameter, key), value in EXPECTED.items():
        effects[parameter].setdefault(key, value)
    return Calibration(base, dict(effects), seen, Widths({}, {}, {}), SHARPNESS)


def main() -> None:
    """Fit the physics and what comes on top of measured kernels; write the calibration and what neighbours weigh."""
    from benchmarks.holdout import Joint, every_way, misses  # noqa: PLC0415 - holding out fits in turn
    from benchmarks.neighbours import lags, weigh, write  # noqa: PLC0415 - the same

    if not available():
        raise SystemExit("the fit needs the kernel database: pip install '.[silicon]'")
    rows = load(*FILES)
    cases = [row.case for row in rows]
    kernels = kernels_of(cases)
    known = np.flatnonzero(~np.isnan(kernels.prompt))
    kept, tables = [rows[i] for i in known], kernels.pick(known)

    missed = {way: misses(rows, found) for way, found in every_way(rows).items()}
    joints = {way: Joint(known, found, missed[way]) for way, found in every_way(kept, tables).items()}
    shares = joints["pair"].shares()

    physics, silicon = fit(rows), fit(kept, tables)
    plain = left_of(rows, None, physics)
    part = np.array([shares[row.kind] for row in kept])
    joined = part * left_of(kept, tables, silicon) + (1 - part) * plain[known]

    record = {
        "sharpness": SHARPNESS,
        "physics": written(rows, physics, plain, missed),
        "silicon": written(kept, silicon, joined, {way: joint.misses(shares) for way, joint in joints.items()})
        | {"share": shares},
    }
    OUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    write(rows, weigh(Places.of(cases), lags(rows, plain)).weights)


def left_of(rows: list[Row], kernels: Kernels | None, known: Calibration) -> Floats:
    """Logarithms of predicted over measured, before neighbours are heard."""
    expected = Observations.of([row.case for row in rows], kernels).expected(known)
    left: Floats = np.log(expected / [row.value for row in rows])
    return left


def written(rows: list[Row], known: Calibration, left: Floats, ways: "dict[str, list[Miss]]") -> dict[str, object]:
    """One calibration as it is written: values, the spread of held-out rows, what is left over by group."""
    from benchmarks.holdout import SAME  # noqa: PLC0415 - holding out fits in turn
    from benchmarks.widths import widths  # noqa: PLC0415 - the same

    residuals = {}
    for name in sorted({(row.kind, row.source) for row in rows}):
        own = left[[i for i, row in enumerate(rows) if (row.kind, row.source) == name]]
        residuals[" ".join(name)] = summary(own)
        print(f"{' '.join(name):48s} {residuals[' '.join(name)]}", flush=True)
    found = widths([miss for way, all_ in ways.items() if way != SAME for miss in all_], ways[SAME])
    return {
        "base": {name: round(value, 5) for name, value in known.base.items()},
        "seen": sorted(known.seen),
        "spread": found.spread,
        "wider": found.wider,
        "closer": found.closer,
        "residuals": residuals,
        "effects": known.effects,
    }


def summary(errors: Floats) -> dict[str, float]:
    """Rows, median and 90th percentile of the absolute relative error, and the median of its logarithm."""
    sizes = np.abs(np.expm1(errors))
    figures = {"median": np.median(sizes), "p90": np.quantile(sizes, 0.9), "bias": np.median(errors)}
    return {"rows": len(errors)} | {name: round(float(value), 3) for name, value in figures.items()}


if __name__ == "__main__":
    main()
