"""A strategy on hardware that is bought: what it costs once, and what its power costs a month."""

from dataclasses import dataclass
from functools import cache

from planners.tables import table
from schemas.plan import Strategy
from schemas.quantity import HOURS_PER_MONTH

USD_PER_KWH = 0.20
"""Assumed where the request names no price of power."""


@dataclass(frozen=True)
class Purchase:
    """One accelerator with its share of the machine around it: US dollars, watts under load, cooling on top (PUE)."""

    usd: float
    power_w: float
    pue: float
    as_of: str
    source: str


@dataclass(frozen=True)
class Owned:
    """US dollars once and a month, and how they were reckoned."""

    purchase_usd: float
    power_usd: float
    source: str

    def total_usd(self, months: int) -> float:
        """Bought and run for so many months, with nothing left of its price at the end."""
        return self.purchase_usd + months * self.power_usd


@cache
def purchases() -> dict[str, Purchase]:
    """What is known of buying, by accelerator."""
    return {
        row["accelerator"]: Purchase(
            usd=float(row["usd"]),
            power_w=float(row["power_w"]),
            pue=float(row["pue"]),
            as_of=row["as_of"],
            source=row["source"],
        )
        for row in table("purchases")
    }


def owned(strategy: Strategy, usd_per_kwh: float = USD_PER_KWH) -> Owned | None:
    """What `strategy` costs on hardware of one's own; None where no purchase price is known.

    Power is drawn as under full load around the clock: watts x PUE x 730 h x price of a kWh.
    """
    known = purchases().get(strategy.accelerator)
    if known is None:
        return None
    number = strategy.count * strategy.replicas
    power = number * known.power_w / 1e3 * known.pue * HOURS_PER_MONTH * usd_per_kwh
    source = (
        f"{number} x {known.usd:,.0f} USD, and {number} x {known.power_w:g} W x PUE {known.pue:g} at "
        f"{usd_per_kwh:g} USD a kWh ({known.as_of}; {known.source})"
    )
    return Owned(number * known.usd, power, source)
