"""A deployment's record and its gateway in, how it does at this moment out."""

import asyncio
import time

from executors.deploy.requests import service, since
from executors.deploy.site import Site
from executors.deploy.supervisor import Supervisor
from schemas.deployment import Deployment, DeploymentReport, DeploymentState, ReplicaNow
from schemas.error import AgentError

WINDOW_S = 300.0


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
    rows = await asyncio.to_thread(since, site.log, time.time() - WINDOW_S)
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
    up = sum(replica.state == "UP" for replica in replicas)
    what = now.stable.label if now.candidate is None else f"{now.stable.label}, on trial {now.candidate.label}"
    return DeploymentReport(
        deployment=now,
        sentence=f"{now.name} is {now.state.value.replace('_', ' ')} at {now.url}: {what}; {up} of {len(replicas)} up.",
        replicas=tuple(replicas),
        queued=sum(backend.queued for backend in backends.values()),
        window_s=WINDOW_S,
        services=tuple(
            service([row for row in rows if row.slot == release.slot], release.label) for release in now.releases
        ),
    )
