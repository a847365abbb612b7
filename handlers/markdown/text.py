"""The small parts of a Markdown page: escaped words, tables, estimates with their intervals and evidence."""

import re
from collections.abc import Iterable, Sequence

from schemas.evidence import Estimate

LONGEST = 200
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]|\x1b\[[0-9;]*[A-Za-z]")
SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+!|~])")
SCHEME = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*)://")


def plain(text: str, longest: int = LONGEST) -> str:
    """`text` without control characters, cut to `longest`: safe in a log line or a terminal."""
    clean = CONTROL.sub(" ", text[: 4 * longest])
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def escape(text: str, longest: int = LONGEST) -> str:
    """`text` as Markdown shows it letter by letter: no markup, no HTML, no link made of it."""
    return SPECIAL.sub(r"\\\1", SCHEME.sub(r"\1:\u200b//", plain(text, longest)))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells come escaped."""
    body = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"| {' | '.join(header)} |\n|{'---|' * len(header)}\n{body}\n"


def number(value: float) -> str:
    """Three significant digits, thousands separated."""
    if value == 0:
        return "0"
    digits = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - where three digits end
    return digits if "e" not in digits else f"{value:.3f}"


def figure(estimate: Estimate | None, *, evidence: bool = True) -> str:
    """Value, interval where it has width, unit, evidence: `412 ms (380 to 450) measured`."""
    if estimate is None:
        return "not measured"
    value, low, high = (_in_unit(part, estimate.unit) for part in (estimate.value, estimate.low, estimate.high))
    width = f" ({low} to {high})" if (low, high) != (value, value) else ""
    unit = "" if estimate.unit in UNITLESS else f" {estimate.unit}"
    return f"{value}{unit}{width}" + (f" {estimate.evidence.value}" if evidence else "")


UNITLESS = frozenset({"relative", "fraction", "USD"})


def _in_unit(value: float, unit: str) -> str:
    if unit in {"relative", "fraction"}:
        return f"{value:.2%}"
    return f"${number(value)}" if unit == "USD" else number(value)
