"""Commands to what is in production: look at it, take it back, scale it. They name a deployment and no more."""

from typing import Literal

from pydantic import Field

from schemas.command import DEPLOYMENT_NAME, Command

DeploymentName = Field(pattern=DEPLOYMENT_NAME)


class DeploymentStatus(Command):
    """What is in production, and how does it do?"""

    cmd: Literal["DEPLOYMENT_STATUS"]
    deployment: str | None = Field(default=None, pattern=DEPLOYMENT_NAME)
    """All of them where absent."""


class RollbackDeployment(Command):
    """Give all requests back to the release that served before, at once."""

    cmd: Literal["ROLLBACK_DEPLOYMENT"]
    deployment: str = DeploymentName


class ScaleDeployment(Command):
    """Run so many replicas of what serves."""

    cmd: Literal["SCALE_DEPLOYMENT"]
    deployment: str = DeploymentName
    replicas: int = Field(ge=1, le=8)
