"""How near predictions come on rows that the fit never saw; a table by class and by publication.

    python -m benchmarks.accuracy [--write docs/accuracy.md]

Pairs (a publication's model on an accelerator), models, accelerators and whole publications are held out in turn. The
coverage is that of the shipped 90 % intervals, widened for what the fit had not seen; their few widths come from these
same held-out rows.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.fit import FILES
from benchmarks.fit_quality import HELD_OUT, covered, load_cases, verdicts
from benchmarks.fit_quality import held_out as quality_held_out
from benchmarks.holdout import Miss, blended, every_way
from benchmarks.rows import Row, load
from planners.performance.calibration import calibration, shares
from planners.performance.forecast import with_kernels
from planners.performance.kernels import Kernels
from planners.performance.observe import Observations
from planners.performance.silicon import available, kernels_of
from planners.quality import quality_model

Floats = NDArray[np.float64]

Z = 1.645
GOALS = {
    "throughput-kernel": "6 % / 20 %",
    "throughput-elsewhere": "12 % / 40 %",
    "tpot": "10 % / 25 %",
    "ttft-unloaded": "18 % / 45 %",
    "ttft-loaded": "18 % / 45 %",
}
HEAD = (
    "| held out by | class | n | median | MAPE | P90 | bias | within 90 % interval | a factor of |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Print the tables; write them too where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="file to put the tables into, after its line `<!-- tables -->`")
    target = parser.parse_args().write
    text = "\n".join([*speed_tables(), *quality_table()])
    print(text)
    if target is not None:
        kept = target.read_text(encoding="utf-8").split("<!-- tables -->")[0]
        target.write_text(f"{kept}<!-- tables -->\n\n{text}\n", encoding="utf-8")


def speed_tables() -> list[str]:
    """Tables of the physics alone and, where it is installed, with the kernel database."""
    rows = load(*FILES)
    physics = _in_sample(rows, None) | every_way(rows)
    lines = ["## Physics alone", "", *_by_class(physics, None), "", "### By publication, pairs held out", ""]
    lines += _by_publication(physics["pair"])
    if available():
        kernels = kernels_of([row.case for row in rows])
        known = np.flatnonzero(~np.isnan(kernels.prompt))
        lines += ["", "## With measured kernels (`silicon`), rows that the database knows", ""]
        kept, seen = [rows[i] for i in known], kernels.pick(known)
        held = {way: blended(found, physics[way], shares()) for way, found in every_way(kept, seen).items()}
        lines += _by_class(_in_sample(kept, seen) | held, seen)
    return lines


def _in_sample(rows: list[Row], kernels: Kernels | None) -> dict[str, list[Miss]]:
    """Rows with the logarithm of predicted over measured by what is shipped, which was fitted to them."""
    cases = [row.case for row in rows]
    expected = Observations.of(cases).expected(calibration())
    if kernels is not None:
        expected = with_kernels(cases, kernels, expected)
    errors = np.log(expected / [row.value for row in rows]).tolist()
    return {"nothing (in sample)": [Miss(row, error, []) for row, error in zip(rows, errors, strict=True)]}


def _by_class(ways: dict[str, list[Miss]], kernels: Kernels | None) -> list[str]:
    lines = [HEAD]
    for way, misses in ways.items():
        grouped = _grouped((miss.row.kind, miss) for miss in misses)
        lines += [_line(way, f"{kind} ({GOALS[kind]})", found, kernels) for kind, found in grouped.items()]
    return lines


def _by_publication(misses: list[Miss]) -> list[str]:
    grouped = _grouped((f"{miss.row.source}: {miss.row.kind}", miss) for miss in misses)
    return [HEAD, *(_line("pair", name, found, None) for name, found in grouped.items())]


def _grouped(pairs: Iterable[tuple[str, Miss]]) -> dict[str, list[Miss]]:
    found: dict[str, list[Miss]] = defaultdict(list)
    for name, miss in pairs:
        found[name].append(miss)
    return dict(sorted(found.items()))


def _line(way: str, name: str, misses: list[Miss], kernels: Kernels | None) -> str:
    errors = np.array([miss.error for miss in misses])
    sizes = np.abs(np.expm1(errors))
    known = calibration(silicon=kernels is not None)
    engines = [miss.row.case.engine.partition("/")[0] for miss in misses]
    named = zip(misses, engines, strict=True)
    limits = Z * np.array([known.deviation(miss.row.kind, engine, miss.new) for miss, engine in named])
    held = np.mean(np.abs(errors) <= limits)
    figures = f"{np.median(sizes):.1%} | {sizes.mean():.1%} | {np.quantile(sizes, 0.9):.1%} | {np.median(errors):+.3f}"
    return f"| {way} | {name} | {len(misses)} | {figures} | {held:.0%} | {np.exp(np.median(limits)):.2f} |"


def quality_table() -> list[str]:
    """Verdicts at 2 % on held-out models, families and publications."""
    cases = load_cases()
    lines = ["", "## Quality: accept or reject at a loss of 2 %", ""]
    lines += ["| held out by | rows | right | wrongly accepted | within 0.3 points of 2 % | right there | elsewhere "]
    lines[-1] += "| within 90 % interval |"
    lines += ["|---|---|---|---|---|---|---|---|"]
    for name, by in HELD_OUT.items():
        pairs = quality_held_out(cases, by)
        found = verdicts(pairs)
        easy = (found["right"] * found["n"] - found["hard right"] * found["hard n"]) / (found["n"] - found["hard n"])
        lines.append(
            f"| {name} | {found['n']} | {found['right']:.1%} | {found['wrongly accepted']:.1%} | {found['hard n']} "
            f"| {found['hard right']:.0%} | {easy:.1%} | {covered(quality_model(), pairs):.0%} |"
        )
    return lines


if __name__ == "__main__":
    main()
