"""Deployments' records and the gateway's logs in, figures for Prometheus out; it remembers how far it has read."""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from executors.deploy.haproxy import PROGRAM
from executors.deploy.home import Home, homes
from executors.deploy.requests import RequestLog
from schemas.deployment import Deployment, Release, RequestSeen
from schemas.evidence import Estimate
from schemas.exposure import BUCKETS_S, Exposed, QualityFigures, ScrapeTarget, ServiceFigures, Tally
from schemas.plan import Candidate
from schemas.text import plain

FOLDER = "deployments"
"""Under the folder of runs."""
ERROR_BUDGET = 0.01
"""Share of requests that may fail or be slow, where nothing else was agreed: 99 % over 30 days."""
SENDERS = 50
"""Series of each release at the most; senders are claims, and each new one would make a series."""
OTHER = "other"
SENDER_LENGTH = 64
FRESH_S = 2.0
"""Two scrapers within this time get the same figures."""
HOURS_A_MONTH = 730


@dataclass
class _Count:
    """What one release did so far."""

    tallies: Counter[tuple[str, str]] = field(default_factory=Counter)
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    seconds: float = 0.0

    def add(self, row: RequestSeen, limit_ms: float | None) -> None:
        slow = limit_ms is not None and row.total_ms > limit_ms
        outcome = "failed" if row.failed else "slow" if slow else "good"
        self.tallies[self._sender(row.sender), outcome] += 1
        if not row.failed:
            self.buckets[bisect_left(BUCKETS_S, row.total_ms / 1000)] += 1
            self.seconds += row.total_ms / 1000

    def _sender(self, claimed: str) -> str:
        name = plain(claimed, SENDER_LENGTH)
        known = {sender for sender, _ in self.tallies}
        return name if name in known or len(known) < SENDERS else OTHER


class _Cost(BaseModel):
    monthly: Estimate | None


class _Trial(BaseModel):
    candidate: Candidate


class _JobReport(BaseModel):
    """Of a job's report, what its release costs; whatever else is in there is left alone."""

    cost: _Cost
    recommended: int | None = None
    trials: tuple[_Trial, ...] = ()


class Exposure:
    """The deployments under `root`, whose releases were made by the jobs in `runs`."""

    def __init__(self, root: Path, runs: Path) -> None:
        self._root, self._runs = root, runs
        self._logs: dict[str, RequestLog] = {}
        self._counts: dict[tuple[str, str], _Count] = {}
        self._costs: dict[str, tuple[float | None, float | None]] = {}
        self._last = (0.0, Exposed())

    def read(self) -> Exposed:
        """Figures as of now.

        Raises:
            AgentError: `tool_failed` where a deployment's record cannot be read.
        """
        at, known = self._last
        if time.monotonic() - at < FRESH_S and at:
            return known
        found = [(home, deployment) for home in homes(self._root) if (deployment := home.load())]
        services = tuple(one for home, deployment in found for one in self._services(home, deployment))
        targets = tuple(target for _, deployment in found for target in _targets(deployment))
        self._last = (time.monotonic(), Exposed(services=services, targets=targets))
        return self._last[1]

    def _services(self, home: Home, deployment: Deployment) -> Iterable[ServiceFigures]:
        limit_ms = deployment.last.latency_limit_ms if deployment.last else None
        placed = {release.slot.value: f"v{release.number}" for release in deployment.releases}
        log = self._logs.setdefault(home.name, RequestLog(home.logs / f"{PROGRAM}.log"))
        for row in log.new():
            # a request that found no release in its place, or was refused at the door, failed all the same
            name = placed.get(row.slot, f"v{deployment.stable.number}")
            self._counts.setdefault((home.name, name), _Count()).add(row, limit_ms)
        for release in deployment.releases:
            yield self._figures(deployment, release, limit_ms)

    def _figures(self, deployment: Deployment, release: Release, limit_ms: float | None) -> ServiceFigures:
        name = f"v{release.number}"
        count = self._counts.setdefault((deployment.name, name), _Count())
        hourly, planned = self._cost(release.job)
        share, stable = deployment.route.share, release.slot is deployment.route.stable
        return ServiceFigures(
            deployment=deployment.name,
            strategy=name,
            tallies=tuple(
                Tally(sender=sender, outcome=outcome, requests=requests)
                for (sender, outcome), requests in sorted(count.tallies.items())
            ),
            buckets=tuple(sum(count.buckets[: end + 1]) for end in range(len(count.buckets))),
            seconds=count.seconds,
            share=1 - share if stable else share,
            error_budget=ERROR_BUDGET,
            latency_limit_s=limit_ms / 1000 if limit_ms else None,
            quality=_quality(deployment, release),
            usd_per_hour=hourly,
            planned_usd_per_1k=planned,
        )

    def _cost(self, job: str) -> tuple[float | None, float | None]:
        """US dollars per hour and, as planned, per 1,000 requests; None where the job knew no price."""
        if job not in self._costs:
            path = self._runs / job / "report.json"
            self._costs[job] = _cost_in(path) if job and path.is_file() else (None, None)
        return self._costs[job]


def _cost_in(path: Path) -> tuple[float | None, float | None]:
    report = _JobReport.model_validate_json(path.read_bytes())
    hourly = report.cost.monthly.value / HOURS_A_MONTH if report.cost.monthly else None
    if report.recommended is None:
        return hourly, None
    planned = report.trials[report.recommended].candidate.prediction.cost_per_1k_usd
    return hourly, planned.value if planned else None


def _quality(deployment: Deployment, release: Release) -> QualityFigures | None:
    """The gate on live prompts where there was one for this release, else the gate that let it in."""
    last = deployment.last
    live = last.quality if last and last.new == release.label else None
    decision = live or release.gate
    if decision is None:
        return None
    return QualityFigures(
        source="live" if live else "gate",
        loss=decision.quality.loss,
        loss_low=decision.quality.loss_low,
        loss_high=decision.quality.loss_high,
        limit=decision.limit,
    )


def _targets(deployment: Deployment) -> Iterable[ScrapeTarget]:
    """Where Prometheus finds the deployment's engines and its gateway."""
    for release in deployment.releases:
        marks = {"deployment": deployment.name, "strategy": f"v{release.number}"}
        addresses = tuple(f"127.0.0.1:{replica.port}" for replica in release.replicas)
        yield ScrapeTarget(targets=addresses, labels=marks)
    gateway = (f"127.0.0.1:{deployment.metrics_port}",)
    yield ScrapeTarget(targets=gateway, labels={"gateway": deployment.name})
