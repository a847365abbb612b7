"""A deployment's name in, its cache of answers switched or a configuration for NGINX printed out."""

from pathlib import Path

import typer

from cli.deployments import site_at
from executors.deploy import nginx
from executors.deploy.engines import free_ports
from schemas.deployment import AnswerCache


async def switch(name: str, runs: Path, size: tuple[int, int] | None) -> None:
    """Keep answers, `size` in megabytes and minutes, or none any more.

    Raises:
        AgentError: `not_found`; `toolchain_missing` without NGINX, `tool_failed` where it does not start.
    """
    site = site_at(name, runs)
    if size is None:
        await site.keep_answers(None)
        typer.echo(f"{name} keeps no answers from now on")
        return
    known = site.known().cache
    port = known.port if known else free_ports(1)[0]
    cache = AnswerCache(port=port, megabytes=size[0], minutes=size[1])
    await site.keep_answers(cache)
    typer.echo(f"{name} keeps answers of requests that come to {cache.url}")


def configuration(name: str, runs: Path) -> None:
    """Print NGINX's configuration in the gateway's place, with the shares of now.

    Raises:
        AgentError: `not_found`.
    """
    site = site_at(name, runs)
    typer.echo(nginx.instead(site.home, site.known()), nl=False)
