"""A deployment's name in, the watch of its quality kept up, ended, or run in this process out."""

from pathlib import Path

import typer

from cli.deployments import site_at
from cli.places import workshop
from handlers.deployment.watching import watch, watch_of
from schemas.command import QualityWatch


async def switch(name: str, runs: Path, spec: QualityWatch | None, limit: float) -> None:
    """Start the watch under the deployment's supervisor, or end it.

    Raises:
        AgentError: `not_found`.
    """
    site = site_at(name, runs)
    await watch(site, spec, limit, workshop())
    typer.echo(f"the quality of {name} is {'watched' if spec else 'not watched'} from now on")


async def watching(name: str, runs: Path) -> None:
    """Watch until cancelled.

    Raises:
        AgentError: `not_found`.
    """
    await watch_of(site_at(name, runs), workshop()).run()
