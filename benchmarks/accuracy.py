"""How near predictions come on rows that the fit never saw; a table by class and by publication.

    python -m benchmarks.accuracy [--write docs/accuracy.md]

Conditions, pairs (a publication's model on an accelerator), models, accelerators and whole publications are held out
in turn, from the fit and from the neighbours it is corrected by. The coverage is that of the shipped 90 % intervals,
widened for what the fit had not seen; their few widths come from these same held-out rows.
"""

import argparse
import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks.fit import FILES
from benchmarks.fit_quality import HELD_OUT, covered, load_cases, verdicts
from benchmarks.fit_quality import held_out as quality_held_out
from benchmarks.holdout import KEYS, SAME, Joint, Miss, every_way, misses
from benchmarks.rows import Row, load
from planners.performance.calibration import Calibration, calibration, shares
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
HOW = frozenset({"engine", "format"})
FAR = ("model", "accelerator", "source")
HEAD = (
    "| held out by | class | n | median | MAPE | P90 | bias | without neighbours "
    "| within 90 % interval | a factor of |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
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
    plain = {way: misses(rows, found) for way, found in every_way(rows).items()}
    lines = ["## Physics and neighbours", "", *_by_class(plain, silicon=False)]
    first = {row.id for row in load(FILES[0])}
    older = {way: [miss for miss in missed if miss.row.id in first] for way, missed in plain.items()}
    lines += ["", f"### Of these, the rows of `{FILES[0]}`", "", *_by_class(older, silicon=False)]
    familiar = {way: [miss for miss in plain[way] if not HOW & set(miss.new)] for way in FAR}
    lines += ["", "### Of all, those whose engine and format the fit had seen", "", *_by_class(familiar, silicon=False)]
    for way in (SAME, "pair"):
        lines += ["", f"### By publication, {way} held out", "", *_by_publication(way, plain[way])]
    lines += ["", "## Runs of the same stated conditions beside each other", "", *_repeats(rows)]
    if available():
        kernels = kernels_of([row.case for row in rows])
        known = np.flatnonzero(~np.isnan(kernels.prompt))
        kept = [rows[i] for i in known]
        lines += ["", "## With measured kernels (`silicon`), rows that the database knows", ""]
        both = every_way(kept, kernels.pick(known))
        held = {way: Joint(known, found, plain[way]).misses(shares()) for way, found in both.items()}
        lines += _by_class(held, silicon=True)
    return lines


def _repeats(rows: list[Row]) -> list[str]:
    """How far runs of one publication under the same stated conditions lie from their median: no column says why."""
    groups: dict[tuple[object, ...], list[float]] = defaultdict(list)
    for row in rows:
        measured = (row.kind, row.publisher, row.case.metric, row.case.tail, row.case.per_device)
        groups[*measured, *KEYS[SAME](row)].append(math.log(row.value))
    apart: dict[str, list[float]] = defaultdict(list)
    for (kind, *_), values in groups.items():
        if len(values) > 1:
            apart[str(kind)] += [abs(math.expm1(value - median(values))) for value in values]
    lines = ["| class | runs that were repeated | median | P90 |", "|---|---|---|---|"]
    return lines + [
        f"| {kind} | {len(found)} | {median(found):.1%} | {np.quantile(found, 0.9):.1%} |"
        for kind, found in sorted(apart.items())
    ]


def _by_class(ways: dict[str, list[Miss]], *, silicon: bool) -> list[str]:
    lines = [HEAD]
    for way, missed in ways.items():
        grouped = _grouped((miss.row.kind, miss) for miss in missed)
        lines += [_line(way, f"{kind} ({GOALS[kind]})", found, silicon=silicon) for kind, found in grouped.items()]
    return lines


def _by_publication(way: str, missed: list[Miss]) -> list[str]:
    grouped = _grouped((f"{miss.row.source}: {miss.row.kind}", miss) for miss in missed)
    return [HEAD, *(_line(way, name, found, silicon=False) for name, found in grouped.items())]


def _grouped(pairs: Iterable[tuple[str, Miss]]) -> dict[str, list[Miss]]:
    found: dict[str, list[Miss]] = defaultdict(list)
    for name, miss in pairs:
        found[name].append(miss)
    return dict(sorted(found.items()))


def _line(way: str, name: str, missed: list[Miss], *, silicon: bool) -> str:
    errors = np.array([miss.error for miss in missed])
    sizes, alone = (np.abs(np.expm1(column)) for column in (errors, np.array([miss.alone for miss in missed])))
    limits = Z * np.array([_deviation(miss, calibration(silicon=silicon)) for miss in missed])
    held = np.mean(np.abs(errors) <= limits)
    figures = f"{np.median(sizes):.1%} | {sizes.mean():.1%} | {np.quantile(sizes, 0.9):.1%} | {np.median(errors):+.3f}"
    figures += f" | {np.median(alone):.1%}, {np.quantile(alone, 0.9):.1%}"
    return f"| {way} | {name} | {len(missed)} | {figures} | {held:.0%} | {np.exp(np.median(limits)):.2f} |"


def _deviation(miss: Miss, known: Calibration) -> float:
    """The deviation behind the shipped interval, for what the row's fit had not seen and the company it had."""
    case = miss.row.case
    return known.deviation(miss.row.kind, case.engine.partition("/")[0], miss.new, miss.company, case.regime.value)


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
