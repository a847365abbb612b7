"""SCALE_DEPLOYMENT in, so many replicas of what serves out; those that leave finish their requests first."""

from handlers.context import JobContext
from handlers.deployment.desk import site_of
from handlers.deployment.look import look
from handlers.registry import Handler
from handlers.services import Services
from schemas.deployment import DeploymentReport, DeploymentState
from schemas.error import AgentError, ErrorCode
from schemas.job import Outcome
from schemas.operation import ScaleDeployment
from schemas.plan import StepKind
from schemas.status import InferenceStatus, JobState


async def work(command: ScaleDeployment, job: JobContext, services: Services) -> Outcome:
    """Start or drain replicas.

    Raises:
        AgentError: `not_found`, `unsupported` while a rollout is under way, `engine_failed`, `out_of_memory`.
    """
    site = site_of(command.deployment, services)

    async def scale() -> DeploymentReport:
        now = site.known()
        if now.state is not DeploymentState.LIVE:
            detail = f"{now.name} is {now.state.value.replace('_', ' ')}: scale it when that has ended"
            raise AgentError(ErrorCode.UNSUPPORTED, detail)
        return await look(site, await site.scale(now, command.replicas))

    report = await job.step("scaled", DeploymentReport, scale)
    status = InferenceStatus(
        state=JobState.COMPLETED,
        phase=StepKind.DEPLOYMENT,
        optimization=report.deployment.stable.label,
        detail=report.sentence,
        progress=1.0,
    )
    return Outcome(state=JobState.COMPLETED, summary=report.sentence, status=status, label=report.hash)


HANDLER = Handler(
    command=ScaleDeployment,
    summary="Runs so many replicas of what serves a deployment.",
    work=work,
    starts_job=lambda _, __: True,
)
