"""A deployment's record and its gateway in, how it does at this moment out."""

import asyncio
import time
from collections.abc import Iterator, Sequence

from executors.deploy.answers import counted
from executors.deploy.costs import burn, costs, price_of
from executors.deploy.drift import drift_of
from executors.deploy.requests import service, since
from executors.deploy.site import Site
from executors.deploy.supervisor import Supervisor
from schemas.deployment import Deployment, DeploymentReport, DeploymentState, ReplicaNow
from schemas.error import AgentError
from schemas.sampling import Drift
from schemas.traffic import Burn, RequestSeen, SenderCost

WINDOW_S = 300.0
LONG_S = 3600.0
"""What requests cost is told over this time; how fast the error budget burns, over both."""


async def look(site: Site, now: Deployment) -> DeploymentReport:
    """What runs, what waits, and what each release did in the last minutes."""
    if now.state is DeploymentState.DOWN:
        return DeploymentReport(deployment=now, sentence=f"{now.name} is taken down.")
    try:
        backends = await site.gateway.runtime.backends()
        running = await Supervisor(site.home).running()
    except AgentError as error:
        sentence = f"{now.name} should run and does not answer: {error.detail}"
        return DeploymentReport(deployment=now, sentence=sentence)
    began = time.time()
    hour = await asyncio.to_thread(since, site.log, began - LONG_S)
    rows = [row for row in hour if row.at_s >= began - WINDOW_S]
    seen = {server.name: server for backend in backends.values() for server in backend.servers}
    replicas = [
        ReplicaNow(
            name=replica.name,
            release=release.label,
            state=seen[replica.name].state,
            open_requests=seen[replica.name].open_requests,
            served=seen[replica.name].served,
            pid=running[replica.name].pid if replica.name in running else 0,
        )
        for release in now.releases
        for replica in release.replicas
    ]
    drift = drift_of(site.home)
    up = sum(replica.state == "UP" for replica in replicas)
    what = now.stable.label if now.candidate is None else f"{now.stable.label}, on trial {now.candidate.label}"
    return DeploymentReport(
        deployment=now,
        sentence=f"{now.name} is {now.state.value.replace('_', ' ')} at {now.url}: {what}; {up} of {len(replicas)} up."
        + _worse(now, drift),
        replicas=tuple(replicas),
        queued=sum(backend.queued for backend in backends.values()),
        window_s=WINDOW_S,
        cache=await asyncio.to_thread(counted, site.home, now),
        drift=drift,
        services=tuple(service(release.served(rows), release.label) for release in now.releases),
        costs=_costs(site, now, hour),
        burns=tuple(_burns(now, {WINDOW_S: rows, LONG_S: hour})),
    )


def in_words(report: DeploymentReport) -> Iterator[str]:
    """What is watched of a deployment, a line each, for a terminal."""
    for one in report.burns:
        if one.requests:
            seen = f"{one.bad} of {one.requests} requests bad in {one.window_s / 60:.0f} min"
            yield f"{one.release}: burn rate of the {one.budget:.0%} error budget {one.rate:.2f} ({seen})"
    for cost in report.costs:
        per_1k = cost.usd_per_1k
        price = f"${per_1k.value:.4f} per 1,000 ({per_1k.evidence})" if per_1k else "no price known"
        named = cost.sender or "not named"
        yield f"{named} at {cost.release}: {cost.requests} requests, {cost.busy_s:.1f} s of slots, {price}"
    if cache := report.cache:
        rate = "nothing asked of it" if cache.hit_rate is None else f"{cache.hit_rate:.0%} hits"
        yield f"cache of answers: {rate}; {cache.hit} hit, {cache.miss} missed, {cache.passed} passed on"
    drift = report.drift
    yield f"quality: {drift.state.value}. {drift.sentence}".strip() if drift else "quality: not watched"


def _costs(site: Site, now: Deployment, rows: Sequence[RequestSeen]) -> tuple[SenderCost, ...]:
    """By release and sender, over the long window."""
    runs = site.home.path.parents[1]
    return tuple(
        one
        for release in now.releases
        for one in costs(release.served(rows), release, price_of(runs, release.job), LONG_S)
    )


def _burns(now: Deployment, windows: dict[float, Sequence[RequestSeen]]) -> Iterator[Burn]:
    """Of each release over each window. A request that found no release in its place is the stable one's."""
    limit_ms = now.last.latency_limit_ms if now.last else None
    places = {release.slot for release in now.releases}
    for release in now.releases:
        for window_s, rows in windows.items():
            astray = [row for row in rows if row.slot not in places] if release is now.stable else []
            yield burn([*release.served(rows), *astray], release, limit_ms, window_s)


def _worse(now: Deployment, drift: Drift | None) -> str:
    """What must not be overlooked: that live prompts show a release beyond its limit."""
    if drift is None or now.stable.number not in drift.breached:
        return ""
    return f" Quality on live prompts is beyond its limit: {drift.sentence}"
