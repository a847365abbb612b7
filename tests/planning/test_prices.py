"""What renting costs: whole instances, the right kind, the user's own prices first."""

import pytest

from planners.prices import Offer, cheapest, load_prices
from schemas.error import AgentError


def offer(count: int, usd: float, provider: str = "p") -> Offer:
    """An offer of `count` accelerators together."""
    return Offer(provider, "", "X", count, "on-demand", usd, "2026-11", "published", "test")


def test_a_replica_stays_within_one_instance() -> None:
    """Four single cards are no machine for tensor parallel 4, however cheap."""
    rent = cheapest([offer(1, 1.0), offer(8, 20.0)], 4, 1)
    assert rent is not None
    assert (rent.offer.count, rent.usd_per_hour) == (8, 20.0)
    assert cheapest([offer(1, 1.0), offer(2, 2.0)], 4, 1) is None


def test_replicas_share_an_instance_and_fill_whole_ones() -> None:
    """Three replicas of two fit on one instance of eight, five need two."""
    three, five = (cheapest([offer(8, 20.0)], 2, count) for count in (3, 5))
    assert three is not None
    assert five is not None
    assert (three.instances, five.instances) == (1, 2)


def test_only_whole_nodes_are_joined() -> None:
    """Sixteen of a device that comes by eights span two nodes of eight, never four instances of four, however cheap."""
    offers = [offer(4, 4.0), offer(8, 20.0)]
    rent = cheapest(offers, 16, 1, node=8)
    assert rent is not None
    assert (rent.offer.count, rent.instances) == (8, 2)
    assert cheapest(offers[:1], 16, 1, node=8) is None


def test_only_a_replica_larger_than_every_instance_spans_several() -> None:
    """Sixteen on two nodes of eight; of equal prices the one with fewer instances."""
    rent = cheapest([offer(4, 10.0), offer(8, 20.0)], 16, 1, node=4)
    assert rent is not None
    assert (rent.offer.count, rent.instances) == (8, 2)


def test_kinds_and_providers_are_kept_apart() -> None:
    """Spot never stands in for on-demand, and a named provider is the only one."""
    prices = load_prices()
    spot = prices.select("A100-SXM-80GB", "spot", ("azure",), ())
    assert all((one.kind, one.provider) == ("spot", "azure") for one in spot)
    assert not prices.select("A100-SXM-80GB", "on-demand", ("nobody",), ())
    assert all(
        one.region.startswith("us-central") or not one.region
        for one in prices.select("TPU-v5e", "on-demand", (), ("us-central",))
    )


def test_a_users_own_prices_hide_the_shipped_ones_of_that_accelerator() -> None:
    """Only of that accelerator."""
    own = "provider,region,accelerator,count,kind,usd_per_hour,as_of,evidence,source\nmine,,L4,1,on-demand,0.1,2026,,\n"
    prices = load_prices(own)
    assert {one.provider for one in prices.offers if one.accelerator == "L4"} == {"mine"}
    assert any(one.accelerator == "H100-SXM" for one in prices.offers)


def test_a_price_file_without_its_columns_is_refused() -> None:
    """The error names the columns."""
    with pytest.raises(AgentError, match="usd_per_hour"):
        load_prices("a,b\n1,2\n")
