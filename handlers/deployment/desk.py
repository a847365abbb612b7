"""What a rollout has at hand: the deployment's site, the job that it is journaled in, and how it speaks."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from executors import toolchain
from executors.deploy.engines import Engines
from executors.deploy.home import Home
from executors.deploy.site import Site
from executors.host import identity
from executors.toolchain import Toolchain
from handlers.context import JobContext
from handlers.services import Services
from handlers.workbench.bench import quality_of
from handlers.workshop import Workshop
from schemas.command import RolloutSpec
from schemas.deployment import Service
from schemas.measurement import GateDecision
from schemas.plan import StepKind
from schemas.status import InferenceStatus, JobState, StatusMetrics

R = TypeVar("R", bound=BaseModel)
FOLDER = "deployments"
"""Under the folder of runs."""


@dataclass(frozen=True)
class Desk:
    """One rollout's surroundings."""

    job: JobContext
    site: Site
    tools: Toolchain
    workshop: Workshop
    spec: RolloutSpec
    max_quality_loss: float
    label: str
    """Of the new strategy, for status updates."""
    version: str

    async def step(self, name: str, result: type[R], work: Callable[[], Awaitable[R]]) -> R:
        """A journaled step, which holds on this machine only."""
        return await self.job.step(f"rollout-{name}-{identity()}", result, work)

    async def say(
        self, detail: str, progress: float, *, service: Service | None = None, gate: GateDecision | None = None
    ) -> None:
        """Publish an update; `service` is what the new release did."""
        status = InferenceStatus(
            state=JobState.RUNNING,
            phase=StepKind.DEPLOYMENT,
            optimization=self.label,
            detail=detail,
            progress=round(progress, 2),
            metrics=service and metrics_of(service),
            quality=gate and quality_of(gate),
        )
        await self.job.report(status, self.version)


def metrics_of(service: Service) -> StatusMetrics | None:
    """One release's latencies as the wire shows them."""
    if service.latency is None:
        return None
    latency = service.latency
    return StatusMetrics(latency_p50=latency.p50.value, latency_p95=latency.p95.value, latency_p99=latency.p99.value)


def deployments(services: Services) -> Path:
    """Where this agent's deployments are."""
    return services.runs_dir / FOLDER


def site_of(name: str, services: Services) -> Site:
    """The site of the deployment `name`, whether or not anything is there.

    Raises:
        AgentError: `invalid_command`, `toolchain_missing`.
    """
    home = Home.under(deployments(services), name)
    place = services.workshop
    python = toolchain.find("llamacpp", place.cache).python
    return Site(home, Engines(home, python, place.limits, cache=place.cache), place.gateway)
