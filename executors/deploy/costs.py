"""Requests as the gateway logged them in; what each sender's cost by release, and how fast budgets burn, out."""

from collections import defaultdict
from collections.abc import Sequence
from heapq import nlargest
from pathlib import Path

from pydantic import BaseModel

from schemas.base import Record
from schemas.deployment import Release
from schemas.evidence import Estimate
from schemas.plan import Candidate
from schemas.quantity import HOURS_PER_MONTH
from schemas.text import plain
from schemas.traffic import Burn, RequestSeen, SenderCost

ERROR_BUDGET = 0.01
"""Share of requests that may fail or be slow, where nothing else was agreed: 99 % over 30 days."""
OTHER = "other"
SENDER_LENGTH = 64
SHOWN = 20
"""Senders of a release at the most, those who took most; the rest are one."""


class Price(Record):
    """What the job that made a release knew of its price; None where it knew none."""

    monthly: Estimate | None = None
    """US dollars of the strategy's own number of replicas."""
    planned_per_1k: float | None = None
    """US dollars per 1,000 requests at the plan's request rate."""

    def hourly(self, release: Release) -> Estimate | None:
        """US dollars per hour of the replicas that run now."""
        if self.monthly is None:
            return None
        return _scaled(self.monthly, len(release.replicas) / release.strategy.replicas / HOURS_PER_MONTH)


class _Cost(BaseModel):
    monthly: Estimate | None


class _Trial(BaseModel):
    candidate: Candidate


class _JobReport(BaseModel):
    """Of a job's report, what its release costs; whatever else is in there is left alone."""

    cost: _Cost
    recommended: int | None = None
    trials: tuple[_Trial, ...] = ()


def price_of(runs: Path, job: str) -> Price:
    """The price of what `job` made, from its report."""
    path = runs / job / "report.json"
    if not job or not path.is_file():
        return Price()
    report = _JobReport.model_validate_json(path.read_bytes())
    if report.recommended is None:
        return Price(monthly=report.cost.monthly)
    planned = report.trials[report.recommended].candidate.prediction.cost_per_1k_usd
    return Price(monthly=report.cost.monthly, planned_per_1k=planned.value if planned else None)


def costs(rows: Sequence[RequestSeen], release: Release, price: Price, window_s: float) -> tuple[SenderCost, ...]:
    """Each sender's requests at `release` over a window of `window_s` seconds, the dearest sender first.

    What the machine cost over the window is shared out by the time that its slots worked for each sender: a long
    answer is dearer than a short one, and an hour with one request is paid for by that request.
    """
    busy = defaultdict[str, float](float)
    for row in rows:
        busy[plain(row.sender, SENDER_LENGTH)] += row.busy_s
    shown = set(nlargest(SHOWN, busy, key=busy.__getitem__))
    groups = defaultdict[str, list[float]](list)
    for row in rows:
        sender = plain(row.sender, SENDER_LENGTH)
        groups[sender if sender in shown else OTHER].append(row.busy_s)
    hourly, all_busy = price.hourly(release), sum(row.busy_s for row in rows)
    return tuple(
        SenderCost(
            release=release.label,
            sender=sender,
            requests=len(took),
            busy_s=sum(took),
            usd_per_1k=_scaled(hourly, window_s / 3600 * sum(took) / all_busy / len(took) * 1000)
            if hourly and all_busy
            else None,
        )
        for sender, took in sorted(groups.items(), key=lambda group: (-sum(group[1]), group[0]))
    )


def burn(rows: Sequence[RequestSeen], release: Release, limit_ms: float | None, window_s: float) -> Burn:
    """How fast `release` spends its budget by its requests of a window."""
    bad = sum(row.failed or row.slow(limit_ms) for row in rows)
    return Burn(
        release=release.label,
        window_s=window_s,
        requests=len(rows),
        bad=bad,
        budget=ERROR_BUDGET,
        rate=bad / len(rows) / ERROR_BUDGET if rows else 0.0,
    )


def _scaled(price: Estimate, factor: float) -> Estimate:
    """A price times what was measured: as sure as the price is."""
    ends = {end: getattr(price, end) * factor for end in ("value", "low", "high")}
    return price.model_copy(update={**ends, "unit": "USD"})
