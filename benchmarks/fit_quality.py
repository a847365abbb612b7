"""Fit what quantization costs to published measurements; write `planners/data/quality.json`; print held-out verdicts.

    python -m benchmarks.fit_quality

Residuals are differences of asinh(loss / noise): linear where noise rules, logarithmic beyond. Whole models, families
of models and publications are held out in turn to judge it.
"""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.priors import kind_of
from benchmarks.rows import REFERENCE
from planners.catalog import find_model
from planners.methods import method_of
from planners.metrics import PERPLEXITY, metric_kind, quality_metric
from planners.quality import FAR, REFERENCE_BITS, Build, QualityModel, build_of, effect_keys, model_family

Floats = NDArray[np.float64]

OUT = Path(__file__).parents[1] / "planners" / "data" / "quality.json"
NOISE = {"ppl": 0.002, "task": 0.008, "delta-p": 0.002}
"""Losses that repeating a measurement, or another set of questions, gives."""
RESIDUAL = 0.9
"""Logarithmic scatter of losses that bits, size and scheme do not explain: chosen on held-out publications."""
WIDTHS = {"scheme": 0.5, "family": 0.3, "metric": 0.5, "group": 0.3, "activations": 1.0, "kv": 0.5, "importance": 0.1}
WIDTHS |= {"scheme|group": 0.8, "tuned": 0.2, "scheme|tuned": 0.5}
"""The last three: one scale for a whole channel costs a rotated or searched model far less than a rounded one, and
tuning the rounding helps some formats far more than others."""
OTHER_WIDTH = 0.5
EXPECTED = {"importance": -0.3, "group=channel": 0.7, "metric=average": -0.7, "metric=mmlu": -0.3}
EXPECTED |= {"scheme=mxfp4": 1.0, "scheme=nvfp4": 0.0, "metric=delta-p": -1.3, "trait=outlier-channels": 1.5}
"""What pairs say that differ in nothing else: in other rows a scheme and its trimmings come together. Noise in the
logits of a token of probability p lowers its logarithm's mean by p (1 - p) and p's by p (1 - p) (1 - 2 p): by a quarter
of that, as most such tokens have p near a third. Llama-3-70B's outliers: arXiv 2408.15301."""
UNSEEN = {"scheme=sparse24": 2.9, "scheme=nf4": -0.2, "scheme=fp8": -0.2, "scheme=int8": 0.0}
"""Schemes without rows: SparseGPT 2:4 (arXiv 2301.00774, table 3), NF4 (arXiv 2305.14314), FP8 (arXiv 2411.02355)."""
START = (-3.3, -1.2, 0.1, -0.1, 0.25)
START_WIDTHS = (1.0, 0.5, 0.15, 0.15, 0.1)
"""The last: about half of what laws of undertrained models say of tokens a parameter (arXiv 2411.04330, 2411.17691:
exponents near 0.5), since what large models keep of it is less than small ones suggest."""
SATURATION = 0.55
ROUNDS = 25
NEAR = 1.5
"""Weight of losses up to twice the line, where verdicts are decided: more of it accepts too much."""
DIVERGED = 1.5
Z = 1.645
LIMIT, HARD = 0.02, 0.003
KV = {"FP8": 0.001, "INT8": 0.001, "Q8_0": 0.0005, "Q4_0": 0.012}
"""Added relative loss of a cache in these formats: KVQuant (arXiv 2401.18079) and llama.cpp pull request 7412."""


@dataclass(frozen=True)
class Case:
    """One published loss."""

    group: str
    model: str
    keys: tuple[str, ...]
    bits: float
    build: Build
    metric: str
    value: float

    @property
    def family(self) -> str:
        """Models built and trained alike."""
        return model_family(self.model)

    @property
    def kind(self) -> str:
        """What its noise and its interval depend on."""
        return metric_kind(self.metric)


HELD_OUT: dict[str, Callable[[Case], str]] = {
    "model": lambda case: case.model,
    "family": lambda case: case.family,
    "publication": lambda case: case.group,
}


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
            method = method_of(row["method"], bits)
            keys = effect_keys(method, model, metric)
            cases.append(Case(row["group"], model.name, keys, method.bits, build_of(model), metric, value))
    return cases


def fit(cases: list[Case]) -> QualityModel:
    """Coefficients by Gauss-Newton with normal priors and a Cauchy loss."""
    names = sorted({key for case in cases for key in case.keys} - {f"metric={PERPLEXITY}"})
    index = {name: i + len(START) for i, name in enumerate(names)}
    design = np.zeros((len(cases), len(START) + len(names)))
    for row, case in enumerate(cases):
        over = case.bits - REFERENCE_BITS
        design[row, : len(START)] = (1.0, over, over * over, *case.build)
        design[row, [index[key] for key in case.keys if key in index]] = 1.0
    tasks = np.array([case.metric != PERPLEXITY for case in cases])
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
    effects = UNSEEN | EXPECTED | {name: round(float(x[i]), 4) for name, i in index.items()}
    head = [round(float(v), 5) for v in x[: len(START)]]
    return QualityModel(*head, effects, KV, SATURATION, dict.fromkeys(NOISE, (0.5, 0.5)), NOISE)


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
            (case, known.loss(case.keys, case.bits, case.build, case.metric)) for case in cases if by(case) == name
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


def spreads(pairs: list[tuple[Case, float]]) -> dict[str, tuple[float, float]]:
    """Standard deviations of logarithms with which 90 % intervals, noise added, hold 90 % of what was held out."""
    return {kind: (_spread(pairs, kind, far=False), _spread(pairs, kind, far=True)) for kind in NOISE}


def _spread(pairs: list[tuple[Case, float]], kind: str, *, far: bool) -> float:
    half = Z * NOISE[kind]
    need = [
        max(
            math.log((case.value - half) / value) if case.value > half else 0.0,
            math.log(value / max(case.value + half, 1e-9)),
            0.0,
        )
        for case, value in pairs
        if case.kind == kind and (value > FAR) == far
    ]
    return round(float(np.quantile(need, 0.9)) / Z, 4)


def covered(known: QualityModel, pairs: list[tuple[Case, float]]) -> float:
    """Share of the cases within the intervals of what was predicted."""
    ends = [(known.interval(value, case.metric), case.value) for case, value in pairs]
    return sum(low <= actual <= high for (low, high), actual in ends) / len(ends)


def main() -> None:
    """Fit, judge by held-out models, families and publications, write; intervals hold models and publications out."""
    cases = load_cases()
    known = fit(cases)
    everything = [(case, known.loss(case.keys, case.bits, case.build, case.metric)) for case in cases]
    print("in sample", verdicts(everything))
    judged = []
    for name, by in HELD_OUT.items():
        pairs = held_out(cases, by)
        judged += pairs if name != "family" else []
        for kind in NOISE:
            print(name, kind, verdicts([pair for pair in pairs if pair[0].kind == kind]))
        print(name, "all", verdicts(pairs))
    record = asdict(known) | {"spread": spreads(judged)}
    print(record["spread"])
    OUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
