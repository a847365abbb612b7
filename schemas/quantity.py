"""Quantities in the family's dialects (`250`, `"45ms"`, `"10k_rps"`, `"$45200"`, `"85 %"`) as plain floats.

Canonical units: latency in milliseconds, throughput in requests per second, losses as fractions, money in US dollars.
"""

import re
from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, NonNegativeFloat

HOURS_PER_MONTH = 730.0
"""365 days x 24 hours / 12 months, as clouds bill it."""


class Dimension(StrEnum):
    """What a field measures; its canonical unit is the one with factor 1 below."""

    LATENCY = "milliseconds"
    THROUGHPUT = "requests per second"
    TOKEN_RATE = "tokens per second"  # noqa: S105 - a unit, not a secret
    FRACTION = "a fraction"
    MONEY = "US dollars"


_SCALES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9}

_UNITS: dict[Dimension, dict[str, float]] = {
    Dimension.LATENCY: {"": 1, "ms": 1, "us": 1e-3, "µs": 1e-3, "s": 1e3, "sec": 1e3, "m": 6e4, "min": 6e4, "h": 3.6e6},
    Dimension.THROUGHPUT: {"": 1, "rps": 1, "req/s": 1, "requests/s": 1, "qps": 1, "rpm": 1 / 60, "req/min": 1 / 60},
    Dimension.TOKEN_RATE: {"": 1, "tok/s": 1, "tokens/s": 1, "tps": 1},
    Dimension.FRACTION: {"": 1, "%": 0.01, "percent": 0.01},
    Dimension.MONEY: {"": 1, "usd": 1, "$": 1, "dollars": 1},
}

LONGEST = 64
"""Characters of a quantity."""

_SHAPE = re.compile(
    r"\s*(?P<sign>[+-]?)\$?\s*(?P<number>\d[\d,_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)[\s_]*(?P<unit>\S{0,16}(?:\s\S{1,16})?)\s*"
)


def parse_quantity(raw: object, dimension: Dimension) -> float:
    """`raw` in the canonical unit of `dimension`.

    Raises:
        ValueError: with the forms that would have been understood.
    """
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return float(raw)
    match = _SHAPE.fullmatch(raw) if isinstance(raw, str) and len(raw) <= LONGEST else None
    factor = _factor(match["unit"], dimension) if match else None
    if match is None or factor is None:
        units = ", ".join(unit for unit in _UNITS[dimension] if unit)
        raise ValueError(f"expected {dimension} as a number or a number with one of: {units}")
    return float(f"{match['sign']}{match['number'].replace(',', '').replace('_', '')}") * factor


def _factor(unit: str, dimension: Dimension) -> float | None:
    """The multiplier of a unit, with an optional decimal prefix (`k_rps`), or None where it is not one."""
    units = _UNITS[dimension]
    name = unit.strip().lower().replace("/month", "").replace("/mo", "")
    if name in units:
        return units[name]
    if dimension in {Dimension.LATENCY, Dimension.FRACTION} or not name:
        return None
    rest = name[1:].lstrip("_ ")
    return _SCALES[name[0]] * units[rest] if name[0] in _SCALES and rest in units else None


def _in(dimension: Dimension) -> BeforeValidator:
    """What reads a field of `dimension` in any dialect."""
    return BeforeValidator(lambda raw: parse_quantity(raw, dimension), json_schema_input_type=float | str)


LatencyMs = Annotated[NonNegativeFloat, _in(Dimension.LATENCY)]
RequestsPerSecond = Annotated[NonNegativeFloat, _in(Dimension.THROUGHPUT)]
TokensPerSecond = Annotated[NonNegativeFloat, _in(Dimension.TOKEN_RATE)]
Fraction = Annotated[NonNegativeFloat, _in(Dimension.FRACTION)]
Usd = Annotated[NonNegativeFloat, _in(Dimension.MONEY)]
