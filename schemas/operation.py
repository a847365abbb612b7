"""Commands to what is in production: look at it, take it back, scale it. They name a deployment and no more."""

from typing import Literal, Self

from pydantic import Field, model_validator

from schemas.command import DEPLOYMENT_NAME, Command, Part
from schemas.quantity import LatencyMs, Usd

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


class Autoscale(Part):
    """Bounds within which replicas follow the load, and what is promised to those with priority."""

    fewest: int = Field(default=1, ge=1, le=8)
    most: int = Field(default=8, ge=1, le=8)
    budget_monthly: Usd | None = None
    replica_monthly: Usd | None = None
    """What one replica costs a month; with a budget it bounds their number."""
    priority_p95: LatencyMs | None = Field(default=None, ge=1)
    """What requests of a high priority keep to at their p95: the rest is let in as far as that allows."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.fewest > self.most:
            raise ValueError("fewest must not exceed most")
        if self.budget_monthly is not None and self.fewest * (self.replica_monthly or 0) > self.budget_monthly:
            raise ValueError(f"budget_monthly does not pay for {self.fewest}, the fewest")
        return self


class ScaleDeployment(Command):
    """Run so many replicas of what serves, or let their number follow the load from now on."""

    cmd: Literal["SCALE_DEPLOYMENT"]
    deployment: str = DeploymentName
    replicas: int | None = Field(default=None, ge=1, le=8)
    """A fixed number; it ends autoscaling."""
    autoscale: Autoscale | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.replicas is None) == (self.autoscale is None):
            raise ValueError("give either replicas or autoscale")
        return self
