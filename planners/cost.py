"""A plan or a measured rate and the price table in, every way to pay for it out: by month, request, token, and year.

A month has 730 hours. Costs per request and per token are those at the rate that was asked for; where none was, at the
share of capacity that is said to be in use, which is all of it where nothing is said: the least they can be.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from planners.candidates import SECONDS_PER_MONTH, cost_per_1k
from planners.catalog import hardware
from planners.owned import USD_PER_KWH, owned
from planners.prices import OWNED, Offer, PriceTable, cheapest
from schemas.command import Constraints, CurrentPerformance
from schemas.evidence import Estimate, Evidence
from schemas.findings import CostOption, CostReport
from schemas.plan import Assumption, Plan, Strategy
from schemas.quantity import HOURS_PER_MONTH

KINDS = ("on-demand", "reserved", "spot")
TODAY = "today"
YEAR, LONG = 12, 36
"""Months over which the whole cost is shown."""
_OWNED_NOTE = (
    "a month is a 36th of price and power over three years, with nothing left of the price at the end; power is drawn "
    "as under full load around the clock"
)


@dataclass(frozen=True)
class Terms:
    """What the asker says of the use: the share of capacity that is in use, and the price of power."""

    utilisation: float = 1.0
    usd_per_kwh: float = USD_PER_KWH


@dataclass(frozen=True)
class Serving:
    """A strategy and what it answers: `rate` requests per second of `output_tokens` each."""

    strategy: Strategy
    rate: Estimate
    output_tokens: int


STANDARD = Terms()


def cost_of_plan(
    plan: Plan, constraints: Constraints, current: CurrentPerformance, prices: PriceTable, terms: Terms = STANDARD
) -> CostReport:
    """The first choice of `plan`, or the untouched model where nothing is feasible, at every kind of price."""
    candidate = plan.chosen[0] if plan.chosen else plan.baseline
    capacity, tokens = candidate.prediction.throughput_rps, plan.workload.output_tokens
    asked = plan.workload.request_rate
    rate = _exactly(asked, "requests/s", "asked for") if asked else _times(capacity, terms.utilisation)
    serving = Serving(candidate.strategy, rate, tokens)
    options = (*_today(current, tokens), *_options(serving, constraints, prices, terms))
    share = min(1.0, asked / capacity.value) if asked and capacity.value else terms.utilisation
    basis = "the rate asked for" if asked else _why(terms)
    used = Assumption(name="utilisation", value=f"{share:.0%} of predicted capacity around the clock", why=basis)
    assumptions = (*plan.assumptions, used, *_unpriced(candidate.strategy, options))
    why = f" The plan is not feasible ({plan.verdict}), so this is what the untouched model costs."
    return _report(plan.model, options, assumptions, "" if plan.feasible else why)


def cost_of_rate(
    model: str, serving: Serving, constraints: Constraints, prices: PriceTable, terms: Terms = STANDARD
) -> CostReport:
    """A measured strategy, used to the share of its measured capacity that `terms` say."""
    used = Serving(serving.strategy, _times(serving.rate, terms.utilisation), serving.output_tokens)
    options = tuple(_options(used, constraints, prices, terms))
    value = f"{terms.utilisation:.0%} of measured capacity around the clock"
    share = Assumption(name="utilisation", value=value, why=_why(terms))
    return _report(model, options, (share, *_unpriced(serving.strategy, options)), "")


def cost_today(model: str, current: CurrentPerformance) -> CostReport:
    """What the sender's own figures say, without any plan."""
    return _report(model, tuple(_today(current, None)), (), "")


def _why(terms: Terms) -> str:
    return "as asked" if terms.utilisation < 1 else "none was named: the least that a request can cost"


def _unpriced(strategy: Strategy, options: tuple[CostOption, ...]) -> Iterator[Assumption]:
    """Which ways to pay are missing, since no price of them is known."""
    missing = [kind for kind in (*KINDS, OWNED) if kind not in {option.kind for option in options}]
    if missing and len(missing) <= len(KINDS):
        why = f"no price of {strategy.accelerator} within the constraints is known; a price file can give one"
        yield Assumption(name=", ".join(missing), value="not shown", why=why)


def _report(model: str, options: tuple[CostOption, ...], assumptions: tuple[Assumption, ...], note: str) -> CostReport:
    ordered = tuple(sorted(options, key=lambda option: option.monthly.value))
    if any(option.kind == OWNED for option in ordered):
        assumptions = (*assumptions, Assumption(name=OWNED, value="36 months", why=_OWNED_NOTE))
    if not ordered:
        sentence = "No price is known for this hardware; give one in a price file to get a cost."
    else:
        first = ordered[0]
        each = f", ${first.per_1k_requests.value:.4g} per 1,000 requests" if first.per_1k_requests else ""
        sentence = (
            f"Cheapest is {first.kind}: {first.strategy} for ${first.monthly.value:,.0f} a month{each}; "
            f"over three years ${first.total_36_months.value:,.0f}."
        )
    return CostReport(model=model, sentence=sentence + note, options=ordered, assumptions=assumptions)


def _options(serving: Serving, constraints: Constraints, prices: PriceTable, terms: Terms) -> Iterator[CostOption]:
    """The cheapest offer of each kind that holds the strategy, and the same hardware bought."""
    strategy = serving.strategy
    node = next((device.per_node for device in hardware() if device.key == strategy.accelerator), strategy.count)
    for kind in KINDS:
        offers = prices.select(strategy.accelerator, kind, constraints.providers, constraints.regions)
        rented = [offer for offer in offers if offer.provider != OWNED]
        rent = cheapest(rented, strategy.count, strategy.replicas, node=node)
        if rent is not None:
            monthly = _exactly(rent.usd_per_hour * HOURS_PER_MONTH, "USD", _source(rent.offer))
            yield _option(strategy.label, kind, monthly, serving.rate, serving.output_tokens)
    bought = owned(strategy, terms.usd_per_kwh)
    if bought is not None:
        monthly = _exactly(bought.total_usd(LONG) / LONG, "USD", bought.source)
        option = _option(strategy.label, OWNED, monthly, serving.rate, serving.output_tokens)
        year = _exactly(bought.total_usd(YEAR), "USD", bought.source)
        yield option.model_copy(update={"total_12_months": year})


def _today(current: CurrentPerformance, output_tokens: int | None) -> Iterator[CostOption]:
    """What is paid now, where the sender says so."""
    if current.cost_monthly is None:
        return
    label = " ".join(filter(None, (current.engine, current.weight_format, current.hardware))) or "as it is served now"
    monthly = _exactly(current.cost_monthly, "USD", "current_perf.cost_monthly")
    rate = _exactly(current.throughput, "requests/s", "current_perf.throughput") if current.throughput else None
    yield _option(label, TODAY, monthly, rate, output_tokens)


def _option(label: str, kind: str, monthly: Estimate, rate: Estimate | None, output_tokens: int | None) -> CostOption:
    each = _per_1k(monthly.value, rate) if rate and rate.low > 0 else None
    return CostOption(
        strategy=label,
        kind=kind,
        monthly=monthly,
        per_1k_requests=each,
        per_1m_tokens=_times(each, 1e3 / output_tokens) if each and output_tokens else None,
        total_12_months=_times(monthly, YEAR),
        total_36_months=_times(monthly, LONG),
        source=monthly.source,
    )


def _per_1k(monthly: float, rate: Estimate) -> Estimate:
    """US dollars per 1,000 requests: `monthly / (rate * seconds of a month) * 1,000`."""
    low, value, high = (cost_per_1k(monthly, part) for part in (rate.high, rate.value, rate.low))
    source = f"{monthly:.6g} USD / ({rate.value:.6g} requests/s x {SECONDS_PER_MONTH:.0f} s)"
    return Estimate(value=value, low=low, high=high, unit="USD", evidence=rate.evidence, source=source)


def _times(estimate: Estimate, factor: float) -> Estimate:
    return estimate.model_copy(update={name: getattr(estimate, name) * factor for name in ("low", "value", "high")})


def _exactly(value: float, unit: str, source: str) -> Estimate:
    return Estimate(value=value, low=value, high=value, unit=unit, evidence=Evidence.ASSUMED, source=source)


def _source(offer: Offer) -> str:
    return f"{offer.provider} {offer.region} {offer.as_of}: {offer.source}".replace("  ", " ")
