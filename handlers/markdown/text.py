"""The small parts of a Markdown page: tables, numbers, estimates with their intervals and evidence."""

from collections.abc import Iterable, Sequence

from schemas.evidence import Estimate


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


UNITLESS = frozenset({"relative", "fraction", "USD", "ratio"})


def _in_unit(value: float, unit: str) -> str:
    if unit in {"relative", "fraction"}:
        return f"{value:.2%}"
    return f"${number(value)}" if unit == "USD" else number(value)
