"""Deployments' records and the gateway's logs in, figures for Prometheus out; it remembers how far it has read."""

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from executors.deploy.answers import CacheCounts
from executors.deploy.costs import ERROR_BUDGET, OTHER, SENDER_LENGTH, Price, price_of
from executors.deploy.drift import drift_of
from executors.deploy.haproxy import PROGRAM
from executors.deploy.home import Home, homes
from executors.deploy.requests import RequestLog
from schemas.deployment import Deployment, Release
from schemas.exposure import BUCKETS_S, Exposed, QualityFigures, ScrapeTarget, ServiceFigures, Tally
from schemas.sampling import Drift
from schemas.text import plain
from schemas.traffic import RequestSeen

FOLDER = "deployments"
"""Under the folder of runs."""
SENDERS = 50
"""Series of each release at the most; senders are claims, and each new one would make a series."""
FRESH_S = 2.0
"""Two scrapers within this time get the same figures."""


@dataclass
class _Count:
    """What one release did so far."""

    tallies: Counter[tuple[str, str]] = field(default_factory=Counter)
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    seconds: float = 0.0
    busy_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds of slots by sender."""

    def add(self, row: RequestSeen, limit_ms: float | None) -> None:
        outcome = "failed" if row.failed else "slow" if row.slow(limit_ms) else "good"
        sender = self._sender(row.sender)
        self.tallies[sender, outcome] += 1
        self.busy_s[sender] += row.busy_s
        if not row.failed:
            self.buckets[bisect_left(BUCKETS_S, row.total_ms / 1000)] += 1
            self.seconds += row.total_ms / 1000

    def _sender(self, claimed: str) -> str:
        name = plain(claimed, SENDER_LENGTH)
        known = {sender for sender, _ in self.tallies}
        return name if name in known or len(known) < SENDERS else OTHER


class Exposure:
    """The deployments under `root`, whose releases were made by the jobs in `runs`."""

    def __init__(self, root: Path, runs: Path) -> None:
        self._root, self._runs = root, runs
        self._logs: dict[str, RequestLog] = {}
        self._caches: dict[str, CacheCounts] = {}
        self._counts: dict[tuple[str, str], _Count] = {}
        self._prices: dict[str, Price] = {}
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
        caches = tuple(told for home, deployment in found if (told := self._cache(home).read(deployment)))
        self._last = (time.monotonic(), Exposed(services=services, caches=caches, targets=targets))
        return self._last[1]

    def _cache(self, home: Home) -> CacheCounts:
        return self._caches.setdefault(home.name, CacheCounts(home))

    def _services(self, home: Home, deployment: Deployment) -> Iterable[ServiceFigures]:
        limit_ms = deployment.last.latency_limit_ms if deployment.last else None
        placed = {release.slot.value: release for release in deployment.releases}
        log = self._logs.setdefault(home.name, RequestLog(home.logs / f"{PROGRAM}.log"))
        for row in log.new():
            # a request that found no release in its place, or was refused at the door, failed all the same
            release = placed.get(row.slot, deployment.stable)
            if row.at_s >= release.since_s:
                self._counts.setdefault((home.name, f"v{release.number}"), _Count()).add(row, limit_ms)
        for release in deployment.releases:
            yield self._figures(home, deployment, release, limit_ms)

    def _figures(self, home: Home, deployment: Deployment, release: Release, limit_ms: float | None) -> ServiceFigures:
        name = f"v{release.number}"
        count = self._counts.setdefault((deployment.name, name), _Count())
        if release.job not in self._prices:
            self._prices[release.job] = price_of(self._runs, release.job)
        price = self._prices[release.job]
        hourly = price.hourly(release)
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
            busy_s=dict(sorted(count.busy_s.items())),
            share=1 - share if stable else share,
            error_budget=ERROR_BUDGET,
            latency_limit_s=limit_ms / 1000 if limit_ms else None,
            quality=_quality(deployment, release, drift_of(home)),
            usd_per_hour=hourly and hourly.value,
            planned_usd_per_1k=price.planned_per_1k,
        )


def _quality(deployment: Deployment, release: Release, drift: Drift | None) -> QualityFigures | None:
    """The gate on live prompts since the rollout, else in it, else the gate that let the release in."""
    last = deployment.last
    watched = drift if drift and drift.release == release.number else None
    live = (watched and watched.decision) or (last.quality if last and last.new == release.label else None)
    decision = live or release.gate
    if decision is None:
        return None
    return QualityFigures(
        source="live" if live else "gate",
        loss=decision.quality.loss,
        loss_low=decision.quality.loss_low,
        loss_high=decision.quality.loss_high,
        limit=decision.limit,
        judged_at_s=watched.judged_at_s if watched else None,
    )


def _targets(deployment: Deployment) -> Iterable[ScrapeTarget]:
    """Where Prometheus finds the deployment's engines and its gateway."""
    for release in deployment.releases:
        marks = {"deployment": deployment.name, "strategy": f"v{release.number}"}
        addresses = tuple(f"127.0.0.1:{replica.port}" for replica in release.replicas)
        yield ScrapeTarget(targets=addresses, labels=marks)
    gateway = (f"127.0.0.1:{deployment.metrics_port}",)
    yield ScrapeTarget(targets=gateway, labels={"gateway": deployment.name})
