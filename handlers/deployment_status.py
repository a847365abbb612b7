"""DEPLOYMENT_STATUS in, what is in production and how it does out."""

from executors.deploy.home import homes
from handlers.deployment.desk import deployments, site_of
from handlers.deployment.look import look
from handlers.registry import Handler
from handlers.services import Services
from schemas.deployment import DeploymentList
from schemas.error import AgentError, ErrorCode
from schemas.operation import DeploymentStatus


async def answer(command: DeploymentStatus, services: Services) -> DeploymentList:
    """One deployment, or all of them.

    Raises:
        AgentError: `not_found` for a name under which nothing was deployed.
    """
    names = [home.name for home in homes(deployments(services))]
    if command.deployment is not None:
        if command.deployment not in names:
            here = ", ".join(names) or "none"
            raise AgentError(ErrorCode.NOT_FOUND, f"nothing is deployed as {command.deployment}; there are: {here}")
        names = [command.deployment]
    found = []
    for name in names:
        site = site_of(name, services)
        known = site.home.load()
        if known is not None:
            found.append(await look(site, known))
    return DeploymentList(deployments=tuple(found))


HANDLER = Handler(command=DeploymentStatus, summary="Says what is in production and how it does.", answer=answer)
