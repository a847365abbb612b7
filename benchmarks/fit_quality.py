"""Fit what quantization costs to published measurements; write `planners/data/quality.json`; print held-out verdicts.

    python -m benchmarks.fit_quality

Residuals are differences of asinh(loss / noise): linear where noise rules, logarithmic beyond. Whole models and whole
publications are held out in turn to judge it.
"""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.fit import kind_of
from benchmarks.rows import REFERENCE
from planners.catalog import find_model
from planners.methods import method_of
from planners.metrics import quality_metric
from planners.quality import PERPLEXITY, REFERENCE_BITS, QualityModel, effect_keys, log_size

Floats = NDArray[np.float64]

OUT = Path(__file__).parents[1] / "planners" / "data" / "quality.json"
NOISE = {"ppl": 0.002, "task": 0.008}
"""Losses that repeating a measurement, or another set of questions, gives."""
RESIDUAL = 0.9
"""Logarithmic scatter of losses that bits, size and scheme do not explain: chosen on held-out publications."""
WIDTHS = {"scheme": 0.5, "family": 0.3, "metric": 0.5, "group": 0.3, "activations": 1.0, "kv": 0.5, "importance": 0.1}
WIDTHS |= {"scheme|group": 0.8}
"""The last: a whole channel's one scale costs a rotated or searched model far less than a rounded one."""
OTHER_WIDTH = 0.5
EXPECTED = {"importance": -0.3, "group=channel": 0.7, "metric=average": -0.7, "metric=mmlu": -0.3}
EXPECTED |= {"scheme=mxfp4": 1.0, "scheme=nvfp4": 0.0, "metric=delta-p": -1.0}
"""What pairs say that differ in nothing else: in other rows a scheme and its trimmings come together. A token's
probability falls by itself times what its logarithm falls, so by well under half of the rise of perplexity."""
UNSEEN = {"scheme=sparse24": 2.9, "scheme=nf4": -0.2, "scheme=fp8": -0.2, "scheme=int8": 0.0}
"""Schemes without rows: SparseGPT 2:4 (arXiv 2301.00774, table 3), NF4 (arXiv 2305.14314), FP8 (arXiv 2411.02355)."""
START = (-3.3, -1.2, 0.1, -0.15)
START_WIDTHS = (1.0, 0.5, 0.15, 0.15)
SATURATION = 0.55
ROUNDS = 25
NEAR = 1.5
"""Weight of losses up to twice the line, where verdicts are decided: more of it accepts too much."""
DIVERGED = 1.5
LIMIT, HARD = 0.02, 0.003
LARGE = 0.3
"""Losses beyond this are failures, about whose size nothing is promised."""
KV = {"FP8": 0.001, "INT8": 0.001, "Q8_0": 0.0005, "Q4_0": 0.012}
"""Added relative loss of a cache in these formats: KVQuant (arXiv 2401.18079) and llama.cpp pull request 7412."""


@dataclass(frozen=True)
class Case:
    """One published loss."""

    group: str
    model: str
    keys: tuple[str, ...]
    bits: float
    size: float
    metric: str
    value: float

    @property
    def kind(self) -> str:
        """Perplexity or a task's score."""
        return PERPLEXITY if self.metric == PERPLEXITY else "task"


def load_cases() -> list[Case]:
    """Every row of the reference that is a loss and not a divergence."""
    rows = []
    for name in ("quality_reference.csv", "quality_measured.csv"):
        with (REFERENCE / name).open(encoding="utf-8", newline="") as file:
            rows += list(csv.DictReader(file))
    cases = []
    for row in rows:
        value, bits = float(row["rel_loss"]), float(row["bits"])
        model, metric = find_model(row["model"]), quality_metric(row["metric"])
        if value <= DIVERGED:
            keys = effect_keys(method_of(row["method"], bits), model, metric)
            cases.append(Case(row["group"], model.name, keys, bits, log_size(model), metric, value))
    return cases


def fit(cases: list[Case]) -> QualityModel:
    """Coefficients by Gauss-Newton with normal priors and a Cauchy loss."""
    names = sorted({key for case in cases for key in case.keys} - {f"metric={PERPLEXITY}"})
    index = {name: i + len(START) for i, name in enumerate(names)}
    design = np.zeros((len(cases), len(START) + len(names)))
    for row, case in enumerate(cases):
        over = case.bits - REFERENCE_BITS
        design[row, : len(START)] = (1.0, over, over * over, case.size)
        design[row, [index[key] for key in case.keys if key in index]] = 1.0
    tasks = np.array([case.kind == "task" for case in cases])
    noise = np.array([NOISE[case.kind] for case in cases])
    actual = np.arcsinh(np.array([case.value for case in cases]) / noise)
    centre = np.concatenate([START, [EXPECTED.get(name, 0.0) for name in names]])
    widths = [*START_WIDTHS, *(WIDTHS.get(kind_of(name), OTHER_WIDTH) for name in names)]
    prior = np.diag(np.array(widths) ** -2.0)
    crowd = weights(cases)
    x = centre.copy()
    for turn in range(ROUNDS):
        rise = np.exp(np.minimum(design @ x, 4.0))
        value = np.where(tasks, -SATURATION * np.expm1(-rise / SATURATION), rise)
        slope = np.where(tasks, rise * np.exp(-rise / SATURATION), rise) / np.hypot(value, noise)
        left = actual - np.arcsinh(value / noise)
        robust = crowd / RESIDUAL / np.sqrt(1 + (left / max(1.0, 4.0 - turn)) ** 2)
        jacobian = design * (slope * robust)[:, None]
        pull = jacobian.T @ (left * robust) - prior @ (x - centre)
        x += np.clip(np.linalg.solve(jacobian.T @ jacobian + prior, pull), -0.5, 0.5)
    effects = UNSEEN | {name: round(float(x[i]), 4) for name, i in index.items()}
    head = [round(float(v), 5) for v in x[: len(START)]]
    return QualityModel(*head, effects, KV, SATURATION, {"ppl": 0.5, "task": 0.6}, NOISE)


def weights(cases: list[Case]) -> Floats:
    """Rows of one publication and kind count less the more they are; rows near the line count more."""
    sizes: dict[tuple[str, str], int] = {}
    for case in cases:
        sizes[case.group, case.kind] = sizes.get((case.group, case.kind), 0) + 1
    near = [NEAR if abs(case.value - LIMIT) < LIMIT else 1.0 for case in cases]
    return np.array([sizes[case.group, case.kind] ** -0.2 * near[i] for i, case in enumerate(cases)])


def held_out(cases: list[Case], by: Callable[[Case], str]) -> list[tuple[Case, float]]:
    """Each case with what a fit without its group predicts."""
    found = []
    for name in sorted({by(case) for case in cases}):
        known = fit([case for case in cases if by(case) != name])
        found += [
            (case, known.loss(case.keys, case.bits, case.size, case.metric)) for case in cases if by(case) == name
        ]
    return found


def verdicts(pairs: list[tuple[Case, float]]) -> dict[str, float]:
    """How often accepting at 2 % is right, how often wrongly accepted, and how right within 0.3 points of the line."""
    right = [(value <= LIMIT) == (case.value <= LIMIT) for case, value in pairs]
    wrongly = [value <= LIMIT < case.value for case, value in pairs]
    hard = [ok for ok, (case, _) in zip(right, pairs, strict=True) if abs(case.value - LIMIT) <= HARD]
    errors = [abs(value - case.value) for case, value in pairs]
    return {
        "n": len(pairs),
        "right": sum(right) / len(right),
        "wrongly accepted": sum(wrongly) / len(right),
        "hard n": len(hard),
        "hard right": sum(hard) / len(hard) if hard else math.nan,
        "median error": float(np.median(errors)),
    }


def spreads(pairs: list[tuple[Case, float]], floors: dict[str, float]) -> dict[str, float]:
    """Standard deviations of logarithms by kind of metric with which 90 % intervals, noise added, hold 90 %."""
    found = {}
    for kind, floor in floors.items():
        part = [(case.value, value) for case, value in pairs if case.kind == kind and case.value < LARGE]
        half = 1.645 * floor
        need = [
            max(math.log((actual - half) / value), 0.0)
            if actual - half > value
            else max(math.log(value / max(actual + half, 1e-9)), 0.0)
            if actual + half < value
            else 0.0
            for actual, value in part
        ]
        found[kind] = round(float(np.quantile(need, 0.9)) / 1.645, 4)
    return found


def main() -> None:
    """Fit, judge by held-out models and publications, write."""
    cases = load_cases()
    known = fit(cases)
    everything = [(case, known.loss(case.keys, case.bits, case.size, case.metric)) for case in cases]
    print("in sample", verdicts(everything))
    judged = []
    for name, by in (("model", lambda case: case.model), ("publication", lambda case: case.group)):
        pairs = held_out(cases, by)
        judged += pairs if name == "model" else []
        for kind in NOISE:
            print(name, kind, verdicts([pair for pair in pairs if pair[0].kind == kind]))
        print(name, "all", verdicts(pairs))
    record = asdict(known) | {"spread": spreads(judged, NOISE)}
    print(record["spread"])
    OUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
