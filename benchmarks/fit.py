"""Fit the efficiencies of the physics to published measurements; write `planners/data/performance.json`.

    python -m benchmarks.fit

Least squares of the logarithms of predicted over measured, with a robust loss. Every effect has a normal prior around
zero whose width depends on how specific the effect is, so that what few rows say stays small.
"""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, load
from planners.performance.calibration import PARAMETERS, Calibration, Parameters, Widths
from planners.performance.kernels import Kernels
from planners.performance.observe import Observations
from planners.performance.silicon import available, kernels_of

if TYPE_CHECKING:
    from benchmarks.holdout import Miss

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
    "client_us": 10000.0,
    "eager_us": 60.0,
    "read_us": 1.0,
    "kernel_step": 1.0,
    "kernel_prompt": 1.0,
    "stagger": 0.5,
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
    "trait": 0.3,
    "variant": 0.3,
    "engine|format": 0.2,
    "engine|family": 0.2,
    "family|format": 0.15,
    "engine|trait": 0.2,
    "variant|format": 0.2,
    "variant|trait": 0.3,
    "kind|format": 0.4,
    "kind|engine|format": 0.4,
    "accelerator": 0.10,
    "engine|model": 0.2,
    "engine|accelerator": 0.1,
}
_WHO = {"engine", "variant", "family", "engine|family", "trait"}
_BOTH = {"engine|model", "engine|accelerator"}
APPLIES = {
    "bandwidth": set(WIDTHS),
    "cache": _WHO | _BOTH | {"engine|trait", "variant|trait"},
    "prefill": set(WIDTHS),
    "decode": set(WIDTHS),
    "layer_us": _WHO | _BOTH | {"format", "engine|trait", "engine|format"},
    "step_us": {"engine", "variant", "family"},
    "sequence_us": {"engine", "variant", "family"},
    "reduce_us": {"engine", "variant", "family", "trait"},
    "link": {"engine", "family", "trait"},
    "first_us": _WHO | {"engine|family", "variant|trait"},
    "client_us": {"engine", "variant", "engine|family"},
    "eager_us": _WHO | _BOTH,
    "read_us": _WHO,
    "kernel_step": {"engine", "variant", "trait", "engine|format", "engine|family", "engine|trait", "variant|trait"},
    "kernel_prompt": {"engine", "variant", "trait", "engine|format", "engine|family", "engine|trait", "variant|trait"},
    "stagger": {"engine", "variant"},
    "fill": _WHO | {"variant|trait"},
    "load": {"engine", "variant"},
    "ttft_tail": {"engine", "variant"},
    "tpot_tail": {"engine", "variant"},
}
EXPECTED = {("layer_us", "format=bnb8"): 1.4, ("layer_us", "format=nf4"): 0.7}
"""Centres of priors other than zero: bitsandbytes launches several kernels for each matrix, so that small models
decode four times slower in 8 bits and twice in 4 bits than in half precision (arXiv 2208.07339, appendix; its blog)."""
BASE_WIDTH = 0.7
SHARES = frozenset({"bandwidth", "cache", "prefill", "decode", "link", "fill", "load"})
SHARE_WIDTH = 0.12
"""Efficiencies of an engine that nobody measured stay near what is usual, and below one."""
WIDE = {"client_us": 2.0, "first_us": 1.5, "stagger": 2.0}
"""Parameters that differ by an order of magnitude between a bare loop and a server behind a network."""
MEASURED = 0.4
"""Width of the priors of what multiplies measured kernels, over the others'."""
ROUNDS = 24
DELTA = 1e-3
LONGEST = 0.5
"""Longest step of a logarithm in one round."""
TOLERATED = 0.25
"""Logarithmic error beyond which a row counts less and less."""
CROWDING = 0.25
SERVED = 0.8
"""Weight of rows of loaded servers: many layouts of few models by many hands, so each says less."""
FEWEST = 1
"""Rows that an effect must cover to be looked for."""
LEAST = 0.004
"""Effects smaller than this are left out."""


@dataclass(frozen=True)
class Slot:
    """One unknown: a parameter's base, or one of its effects."""

    parameter: str
    key: str
    width: float

    @property
    def centre(self) -> float:
        """Where the prior lies."""
        return EXPECTED.get((self.parameter, self.key), 0.0)


def kind_of(key: str) -> str:
    """The kind of an effect's key: `engine=vllm|format=fp8` is `engine|format`."""
    return "|".join(part.split("=")[0] for part in key.split("|"))


def slots(observations: Observations) -> list[Slot]:
    """All unknowns that the rows can tell apart: of keys that cover the same rows, the most general one."""
    covered: dict[str, list[int]] = defaultdict(list)
    for row, subject in enumerate(observations.subjects):
        for key in subject.effects():
            covered[key].append(row)
    ordered = sorted(covered, key=lambda key: (list(WIDTHS).index(kind_of(key)), key))
    found = []
    for name in PARAMETERS:
        narrow = MEASURED if name.startswith("kernel") else WIDE.get(name, 1.0)
        found.append(Slot(name, "", SHARE_WIDTH if name in SHARES else BASE_WIDTH * narrow))
        seen = {tuple(range(observations.count))}
        for key in ordered:
            rows = tuple(covered[key])
            if kind_of(key) in APPLIES[name] and len(rows) >= FEWEST and rows not in seen:
                seen.add(rows)
                found.append(Slot(name, key, WIDTHS[kind_of(key)] * narrow))
    return found


def fit(rows: list[Row], rounds: int = ROUNDS, kernels: Kernels | None = None) -> Calibration:
    """The calibration that explains `rows` best within the priors: Gauss-Newton with reweighting (Cauchy loss)."""
    observations = Observations.of([row.case for row in rows], kernels)
    unknowns = slots(observations)
    actual = np.log([row.value for row in rows])
    trust = weights(rows) / NOISE
    prior = np.array([slot.width**-2.0 for slot in unknowns], dtype=np.float32)
    designs = _designs(observations, unknowns)
    centre = np.array([slot.centre for slot in unknowns])
    x = centre.copy()
    for turn in range(rounds):
        tolerated = TOLERATED * max(1.0, 6.0 - turn)
        logs = np.stack([design @ x[columns] for columns, design in designs])
        left = actual - np.log(observations.values(_parameters(logs), SHARPNESS))
        slopes = _slopes(observations, logs, actual - left)
        robust = trust / np.sqrt(1 + (left / tolerated) ** 2)
        jacobian = np.zeros((observations.count, len(unknowns)), dtype=np.float32)
        for (columns, design), slope in zip(designs, slopes, strict=True):
            jacobian[:, columns] = design * (slope * robust)[:, None]
        pull = jacobian.T @ (left * robust).astype(np.float32) - prior * (x - centre)
        step = np.linalg.solve(jacobian.T @ jacobian + np.diag(prior), pull)
        x += np.clip(step, -LONGEST, LONGEST)
    seen = frozenset(name for who in observations.subjects for _, name in who.names())
    return _calibration(unknowns, x, seen)


def thinned(rows: list[Row]) -> list[int]:
    """Places of the rows, with every third configuration of the loaded servers, which are many and alike."""
    return [i for i, row in enumerate(rows) if not row.source.startswith("silicon") or int(row.id[1:]) // 2 % 3 == 0]


def weights(rows: list[Row]) -> Floats:
    """Square roots of how much each row counts: large groups of like rows count less than their number."""
    sizes = Counter((row.source, row.kind, row.case.model.name) for row in rows)
    found = np.array([sizes[row.source, row.kind, row.case.model.name] ** -CROWDING for row in rows])
    served = np.array([row.source.startswith("silicon") for row in rows])
    return found * np.where(served, SERVED, 1.0)


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
    return Calibration(base, dict(effects), seen, Widths({}, {}), SHARPNESS)


def main() -> None:
    """Fit the physics, and where the kernel database is installed what comes on top of it; write the calibration.

    Without the database the part for it stays as it was.
    """
    from benchmarks.holdout import blended, every_way, shares  # noqa: PLC0415 - holding out fits in turn

    rows = load(*FILES)
    rows = [rows[i] for i in thinned(rows)]
    plain = every_way(rows)
    old = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    record = {"sharpness": SHARPNESS, "physics": part(rows, None, plain), "silicon": old.get("silicon", {})}
    if available():
        kernels = kernels_of([row.case for row in rows])
        known = np.flatnonzero(~np.isnan(kernels.prompt))
        kept, seen = [rows[i] for i in known], kernels.pick(known)
        misses = every_way(kept, seen)
        share = shares(misses["pair"], plain["pair"])
        misses = {way: blended(found, plain[way], share) for way, found in misses.items()}
        record["silicon"] = part(kept, seen, misses) | {"share": share}
    OUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def part(rows: list[Row], kernels: Kernels | None, misses: "dict[str, list[Miss]]") -> dict[str, object]:
    """One calibration as it is written: values, the spread of held-out rows, what is left over by group."""
    from benchmarks.widths import widths  # noqa: PLC0415 - holding out fits in turn

    known = fit(rows, kernels=kernels)
    expected = Observations.of([row.case for row in rows], kernels).expected(known)
    errors = np.log(expected / [row.value for row in rows])
    residuals = {}
    for name in sorted({(row.kind, row.source) for row in rows}):
        left = errors[[i for i, row in enumerate(rows) if (row.kind, row.source) == name]]
        residuals[" ".join(name)] = summary(left)
        print(f"{' '.join(name):48s} {residuals[' '.join(name)]}", flush=True)
    found = widths([miss for way in misses.values() for miss in way])
    return {
        "base": {name: round(value, 5) for name, value in known.base.items()},
        "seen": sorted(known.seen),
        "spread": found.spread,
        "wider": found.wider,
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
