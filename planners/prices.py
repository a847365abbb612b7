"""Dated prices in, the cheapest way to rent some accelerators out; on-demand, reserved and spot are kept apart."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import StringIO

from planners.tables import table
from schemas.error import AgentError, ErrorCode

OWNED = "owned"
"""The provider of hardware that is bought: its price is spread over three years, with its power."""

_NODE = 8
"""Accelerators of a whole node, where the device's own number is not given."""

_COLUMNS = ("provider", "region", "accelerator", "count", "kind", "usd_per_hour", "as_of", "evidence", "source")


@dataclass(frozen=True)
class Offer:
    """One instance type at one provider: `count` accelerators for `usd_per_hour` together."""

    provider: str
    region: str
    accelerator: str
    count: int
    kind: str
    usd_per_hour: float
    as_of: str
    evidence: str
    source: str


@dataclass(frozen=True)
class Rent:
    """What some replicas cost an hour, and the offer behind it."""

    usd_per_hour: float
    instances: int
    offer: Offer


@dataclass(frozen=True)
class PriceTable:
    """Offers that a plan may use; a user's own rows come first and hide the shipped ones of that accelerator."""

    offers: tuple[Offer, ...] = ()

    def known(self, accelerator: str) -> bool:
        """Whether any price of this accelerator is known, wherever it is."""
        return any(offer.accelerator == accelerator for offer in self.offers)

    def select(
        self, accelerator: str, kind: str, providers: Sequence[str], regions: Sequence[str]
    ) -> tuple[Offer, ...]:
        """Offers of one accelerator of one kind, within the named providers and regions (all, where none is named)."""
        wanted = {name.lower() for name in providers}
        places = tuple(name.lower() for name in regions)
        return tuple(
            offer
            for offer in self.offers
            if offer.accelerator == accelerator
            and offer.kind == kind
            and (not wanted or offer.provider.lower() in wanted)
            and (not places or not offer.region or offer.region.lower().startswith(places))
        )


def cheapest(offers: Sequence[Offer], per_replica: int, replicas: int, *, node: int = _NODE) -> Rent | None:
    """The cheapest single offer that holds `replicas` groups of `per_replica` accelerators, or None.

    A replica stays within one instance; only one larger than every instance spans several, each a whole node of `node`
    accelerators or more: smaller ones have no links fast enough.
    """
    best: Rent | None = None
    largest = max((offer.count for offer in offers), default=0)
    for offer in offers:
        whole = offer.count // per_replica
        if not whole and (per_replica <= largest or offer.count < node or per_replica % offer.count):
            continue
        instances = -(-replicas // whole) if whole else replicas * (per_replica // offer.count)
        rent = Rent(offer.usd_per_hour * instances, instances, offer)
        if best is None or (rent.usd_per_hour, instances) < (best.usd_per_hour, best.instances):
            best = rent
    return best


def load_prices(user_file_text: str | None = None) -> PriceTable:
    """The shipped prices, with the rows of a user's own CSV (same columns; `source` may be empty) over them.

    Raises:
        AgentError: `invalid_command` where the user's file lacks a column or a number.
    """
    shipped = _shipped()
    if user_file_text is None:
        return PriceTable(shipped)
    try:
        own = tuple(_offer(row) for row in csv.DictReader(StringIO(user_file_text)))
    except (KeyError, ValueError, TypeError) as error:
        raise AgentError(
            ErrorCode.INVALID_COMMAND, f"the price file must have the columns {', '.join(_COLUMNS)}: {error}"
        ) from error
    hidden = {offer.accelerator for offer in own}
    return PriceTable((*own, *(offer for offer in shipped if offer.accelerator not in hidden)))


@cache
def _shipped() -> tuple[Offer, ...]:
    return tuple(_offer(row) for row in table("prices"))


def _offer(row: dict[str, str]) -> Offer:
    return Offer(
        provider=row["provider"],
        region=row["region"],
        accelerator=row["accelerator"],
        count=max(1, int(row["count"])),
        kind=row["kind"],
        usd_per_hour=float(row["usd_per_hour"]),
        as_of=row["as_of"],
        evidence=row["evidence"],
        source=row["source"],
    )
