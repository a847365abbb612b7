"""SCALE_DEPLOYMENT in, so many replicas of what serves out; those that leave finish their requests first."""

import os
import sys

from executors.deploy.home import Home
from executors.deploy.supervisor import Program, Supervisor
from handlers.context import JobContext
from handlers.deployment.desk import site_of
from handlers.deployment.look import look
from handlers.registry import Handler
from handlers.services import Services
from planners.scaling import most_replicas
from schemas.deployment import Deployment, DeploymentReport
from schemas.job import Outcome
from schemas.operation import Autoscale, ScaleDeployment
from schemas.plan import StepKind
from schemas.status import InferenceStatus, JobState

AUTOSCALER = "autoscaler"
"""Its name under the supervisor."""


async def work(command: ScaleDeployment, job: JobContext, services: Services) -> Outcome:
    """Start or drain replicas.

    Raises:
        AgentError: `not_found`, `unsupported` while a rollout is under way, `engine_failed`, `out_of_memory`.
    """
    site = site_of(command.deployment, services)

    async def scale() -> DeploymentReport:
        now = site.known()
        if command.autoscale is not None:
            most = machine_limit(command.autoscale, now)
            await Supervisor(site.home).keep(autoscaler(site.home, command.autoscale, most))
            await site.gateway.doors(used=command.autoscale.priority_p95 is not None)
            found = await look(site, now)
            words = f"{now.name} runs {command.autoscale.fewest} to {most} replicas from now on, as its load asks."
            return found.model_copy(update={"sentence": words})
        await Supervisor(site.home).drop(AUTOSCALER)
        await site.gateway.doors(used=False)
        return await look(site, await site.scale(command.replicas or len(now.stable.replicas)))

    report = await job.step("scaled", DeploymentReport, scale)
    status = InferenceStatus(
        state=JobState.COMPLETED,
        phase=StepKind.DEPLOYMENT,
        optimization=report.deployment.stable.label,
        detail=report.sentence,
        progress=1.0,
    )
    return Outcome(state=JobState.COMPLETED, summary=report.sentence, status=status, label=report.hash)


def machine_limit(asked: Autoscale, now: Deployment) -> int:
    """Replicas at the most: what was asked, what the budget pays, and one for each core that an engine fills."""
    cores = max(1, (os.cpu_count() or 1) // now.stable.strategy.threads)
    return max(asked.fewest, most_replicas(asked.budget_monthly, asked.replica_monthly, min(asked.most, cores)))


def autoscaler(home: Home, asked: Autoscale, most: int) -> Program:
    """The loop that follows the load, under the deployment's own supervisor: it outlives this agent."""
    bounds = ["--fewest", str(asked.fewest), "--most", str(most)]
    if asked.priority_p95 is not None:
        bounds += ["--priority-p95", f"{asked.priority_p95:g}"]
    argv = (sys.executable, "-m", "cli.main", "deployment", "autoscale", home.name, "--runs", str(home.path.parents[1]))
    return Program(AUTOSCALER, (*argv, *bounds))


HANDLER = Handler(
    command=ScaleDeployment,
    summary="Runs so many replicas of what serves a deployment, or as many as its load asks.",
    work=work,
    starts_job=lambda _, __: True,
)
