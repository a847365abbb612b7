"""What the recommended strategy costs, from the plan's monthly price and the measured throughput."""

from handlers.optimization.verdict import capacity
from schemas.evidence import Estimate, Evidence
from schemas.measurement import LoadReport
from schemas.plan import Candidate
from schemas.quantity import HOURS_PER_MONTH
from schemas.report import Cost

MONTH_S = HOURS_PER_MONTH * 3600


def cost_of(candidate: Candidate, load: LoadReport) -> Cost:
    """US dollars per 1,000 requests and per million output tokens at measured capacity, around the clock."""
    monthly = candidate.prediction.cost_monthly_usd
    if monthly is None:
        sentence = "No price is known for this machine, so no cost is claimed; give one in a price file to get it."
        return Cost(monthly=None, per_1k_requests=None, per_1m_tokens=None, sentence=sentence)
    level = capacity(load)
    if not level.completed:
        return Cost(monthly=monthly, per_1k_requests=None, per_1m_tokens=None, sentence="No request was completed.")
    requests = _per(monthly, level.throughput_rps.value, 1e3)
    tokens = _per(monthly, level.output_tokens_s.value, 1e6)
    sentence = (
        f"${monthly.value:,.0f} a month; ${requests.value:.4f} per 1,000 requests and ${tokens.value:.2f} per million "
        "output tokens if it is kept at its measured capacity around the clock, more where it idles."
    )
    return Cost(monthly=monthly, per_1k_requests=requests, per_1m_tokens=tokens, sentence=sentence)


def _per(monthly: Estimate, rate: float, units: float) -> Estimate:
    """`monthly` dollars spread over a month of `rate` a second, for `units` of it."""
    low, value, high = (part / (rate * MONTH_S) * units for part in (monthly.low, monthly.value, monthly.high))
    source = f"{monthly.source}; measured {rate:.2f}/s"
    return Estimate(value=value, low=low, high=high, unit="USD", evidence=Evidence(monthly.evidence), source=source)
