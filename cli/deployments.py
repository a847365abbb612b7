"""A deployment's name in, its state on the terminal out, or its end, or its replicas kept in step with its load."""

from pathlib import Path

import typer

from cli.places import workshop
from executors import toolchain
from executors.deploy.autoscale import Autoscaler
from executors.deploy.engines import Engines
from executors.deploy.gateway import kept_settings
from executors.deploy.home import Home, homes
from executors.deploy.site import Site
from handlers.deployment.desk import FOLDER
from handlers.deployment.look import look
from planners.scaling import decide
from schemas.deployment import DeploymentList
from schemas.scaling import Load, ScalingDecision, ScalingRule, ScalingState


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


async def autoscale(name: str, runs: Path, fewest: int, most: int) -> None:
    """Follow the load until cancelled; a line for every change.

    Raises:
        AgentError: `not_found`, `engine_failed`.
    """
    site = site_at(name, runs)
    now = site.known()
    rule = ScalingRule(slots=now.stable.strategy.max_sequences, fewest=fewest, most=max(fewest, most))
    state = ScalingState(replicas=len(now.stable.replicas))

    def follow(load: Load) -> ScalingDecision:
        nonlocal state
        decision = decide(load, state, rule)
        state = decision.state
        return decision

    async def tell(load: Load, decision: ScalingDecision) -> None:
        if decision.why:
            typer.echo(f"{load.queued} waiting: {decision.replicas} replicas, since {decision.why}")

    await Autoscaler(site, follow, tell).run()


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
