"""A deployment's name in, its state on the terminal out, or its end, or its replicas kept in step with its load."""

import asyncio
from functools import partial
from pathlib import Path

import typer

from cli.places import workshop
from executors import toolchain
from executors.deploy.autoscale import Autoscaler
from executors.deploy.engines import Engines
from executors.deploy.gateway import kept_settings
from executors.deploy.home import Home, homes
from executors.deploy.limiter import Limiter
from executors.deploy.site import Site
from handlers.deployment.desk import FOLDER
from handlers.deployment.look import in_words, look
from planners.limits import limit
from planners.scaling import decide
from schemas.deployment import DeploymentList, Slot
from schemas.limits import LimitDecision, Promise, Traffic
from schemas.scaling import Load, ScalingDecision, ScalingRule


async def status(runs: Path, *, json: bool) -> None:
    """Print every deployment under `runs`."""
    sites = [_site(home) for home in homes(runs.absolute() / FOLDER)]
    reports = [await look(site, known) for site in sites if (known := site.home.load())]
    found = DeploymentList(deployments=tuple(reports))
    if json:
        typer.echo(found.model_dump_json(indent=1))
        return
    for report in found.deployments:
        typer.echo(report.sentence)
        for replica in report.replicas:
            typer.echo(f"  {replica.name:10} {replica.state:6} pid {replica.pid}  {replica.served} served")
        for line in in_words(report):
            typer.echo(f"  {line}")
    if not sites:
        typer.echo(f"nothing was deployed under {runs}")


async def take_down(name: str, runs: Path) -> None:
    """End every process of a deployment.

    Raises:
        AgentError: `not_found`.
    """
    site = site_at(name, runs)
    await site.take_down()
    typer.echo(f"{name} is down; its folder is {site.home.path}")


async def autoscale(name: str, runs: Path, rule: ScalingRule, priority_p95_ms: float | None) -> None:
    """Follow the load until cancelled, and keep to what those with priority are promised; a line for every change.

    Raises:
        AgentError: `not_found`, `engine_failed`.
    """
    site = site_at(name, runs)

    async def scaled(load: Load, decision: ScalingDecision) -> None:
        if decision.why:
            typer.echo(f"{load.queued} waiting: {decision.replicas} replicas, since {decision.why}")

    async def limited(slot: Slot, traffic: Traffic, decision: LimitDecision) -> None:
        if decision.why:
            typer.echo(f"{traffic.queued} waiting for {slot}: {decision.limit} are let in, since {decision.why}")

    followers = [Autoscaler(site, partial(decide, rule=rule), scaled, limited=priority_p95_ms is not None).run()]
    if priority_p95_ms is not None:
        promise = Promise(p95_ms=priority_p95_ms)
        followers.append(Limiter(site, partial(limit, promise=promise), limited).run())
    await asyncio.gather(*followers)


def site_at(name: str, runs: Path) -> Site:
    """The site of the deployment `name` under `runs`, with something in it.

    Raises:
        AgentError: `not_found`.
    """
    site = _site(Home.under(runs.absolute() / FOLDER, name))
    site.known()
    return site


def _site(home: Home) -> Site:
    place = workshop()
    python = toolchain.find("llamacpp", place.cache).python
    engines = Engines(home, python, place.limits, cache=place.cache)
    return Site(home, engines, kept_settings(home) or place.gateway)
