"""Costs that a person can reckon by hand: rented, reserved, bought with power; by request, token, month and year."""

import pytest

from planners.cost import Serving, Terms, cost_of_rate, cost_today
from planners.owned import owned, purchases
from planners.prices import load_prices
from schemas.command import Constraints, CurrentPerformance
from schemas.evidence import Estimate, Evidence
from schemas.findings import CostOption, CostReport
from schemas.plan import Strategy

OWN = """provider,region,accelerator,count,kind,usd_per_hour,as_of,evidence,source
mine,,L40S,1,on-demand,1.00,2026-11,mine,by hand
mine,,L40S,1,reserved,0.60,2026-11,mine,by hand
mine,,host,1,on-demand,0.10,2026-11,mine,by hand
"""
PRICES = load_prices(OWN)


def serving(accelerator: str = "L40S", *, count: int = 1, replicas: int = 1) -> Serving:
    """Two requests a second, measured as 1.9 to 2.5, of 100 tokens each."""
    strategy = Strategy(engine="vllm", weight_format="FP8", accelerator=accelerator, count=count, replicas=replicas)
    rate = Estimate(value=2, low=1.9, high=2.5, unit="requests/s", evidence=Evidence.MEASURED)
    return Serving(strategy, rate, 100)


def options(report: CostReport) -> dict[str, CostOption]:
    """By how they are paid."""
    return {option.kind: option for option in report.options}


def test_rented_by_the_hour() -> None:
    """One dollar an hour is $730 a month, $8,760 a year; 2/s are 5,256,000 requests a month: $0.1389 per thousand."""
    found = options(cost_of_rate("m", serving(), Constraints(), PRICES))["on-demand"]
    assert found.monthly.value == 730
    assert (found.total_12_months.value, found.total_36_months.value) == (8760, 26280)
    assert found.per_1k_requests is not None
    assert found.per_1m_tokens is not None
    assert found.per_1k_requests.value == pytest.approx(730 / 5_256_000 * 1000)
    assert found.per_1m_tokens.value == pytest.approx(730 / 525_600_000 * 1e6)
    assert found.per_1k_requests.high == pytest.approx(730 / (1.9 * 2_628_000) * 1000)
    assert found.per_1k_requests.evidence is Evidence.MEASURED
    assert options(cost_of_rate("m", serving(), Constraints(), PRICES))["reserved"].total_36_months.value == 15_768


def test_half_used_costs_twice_as_much_a_request_and_the_same_a_month() -> None:
    """Utilisation is an assumption that is stated."""
    full = cost_of_rate("m", serving(), Constraints(), PRICES)
    half = cost_of_rate("m", serving(), Constraints(), PRICES, Terms(utilisation=0.5))
    for kind, option in options(half).items():
        other = options(full)[kind]
        assert option.monthly == other.monthly
        assert option.per_1k_requests is not None
        assert other.per_1k_requests is not None
        assert option.per_1k_requests.value == pytest.approx(2 * other.per_1k_requests.value)
    (said,) = [item for item in half.assumptions if item.name == "utilisation"]
    assert said.value.startswith("50%")


def test_bought_with_its_power() -> None:
    """Two L40S at $11,000 and 500 W, PUE 1.5, $0.30 a kWh: $328.50 of power a month; a year is price plus 12 of it."""
    strategy = serving(replicas=2).strategy
    found = owned(strategy, 0.30)
    assert found is not None
    assert found.purchase_usd == 22_000
    assert found.power_usd == pytest.approx(2 * 0.5 * 1.5 * 730 * 0.30)
    report = cost_of_rate("m", serving(replicas=2), Constraints(), PRICES, Terms(usd_per_kwh=0.30))
    option = options(report)["owned"]
    assert option.total_12_months.value == pytest.approx(22_000 + 12 * 328.5)
    assert option.total_36_months.value == pytest.approx(22_000 + 36 * 328.5)
    assert option.monthly.value == pytest.approx((22_000 + 36 * 328.5) / 36)
    assert "PUE 1.5 at 0.3 USD a kWh" in option.source
    assert owned(serving("host").strategy) is None


def test_ways_to_pay_without_a_price_are_named() -> None:
    """No spot price within the user's own table: not shown, and the reason is there; nothing at all says so too."""
    report = cost_of_rate("m", serving("host"), Constraints(), PRICES)
    assert list(options(report)) == ["on-demand"]
    (missing,) = [item for item in report.assumptions if item.value == "not shown"]
    assert missing.name == "reserved, spot, owned"
    nothing = cost_of_rate("m", serving("host"), Constraints(), load_prices())
    assert nothing.options == ()
    assert nothing.sentence.startswith("No price is known")


def test_todays_bill_alone() -> None:
    """$5,000 a month at 55/s: 144,540,000 requests, $0.0346 per thousand; no tokens are known, so none are priced."""
    report = cost_today("m", CurrentPerformance(cost_monthly=5000, throughput=55))
    option = options(report)["today"]
    assert option.per_1k_requests is not None
    assert option.per_1k_requests.value == pytest.approx(5000 / 144_540_000 * 1000)
    assert option.per_1m_tokens is None
    assert option.total_36_months.value == 180_000


def test_every_purchase_says_where_it_is_from() -> None:
    """Positive figures, a PUE of at least one, a source that says that they are assumed."""
    assert len(purchases()) > 20
    for known in purchases().values():
        assert min(known.usd, known.power_w) > 0
        assert known.pue >= 1
        assert known.source.startswith("assumed: ")
