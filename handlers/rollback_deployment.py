"""ROLLBACK_DEPLOYMENT in, everybody at the release that served before out: at once where both still run."""

from executors.deploy.site import Site
from handlers.context import JobContext
from handlers.deployment.desk import site_of
from handlers.deployment.hold import TAKE_BACK
from handlers.deployment.look import look
from handlers.registry import Handler
from handlers.services import Services
from schemas.deployment import DeploymentReport, Route
from schemas.error import AgentError, ErrorCode
from schemas.job import Outcome
from schemas.operation import RollbackDeployment
from schemas.plan import StepKind
from schemas.status import InferenceStatus, JobState


def starts_job(command: RollbackDeployment, services: Services) -> bool:
    """Whether an engine has to be started first: the release before is stopped by now.

    Raises:
        AgentError: `not_found` where nothing is deployed, or nothing was before.
    """
    now = site_of(command.deployment, services).known()
    if now.candidate is None and now.previous is None:
        raise AgentError(ErrorCode.NOT_FOUND, f"nothing served {now.name} before {now.stable.label}")
    return now.candidate is None or _asked_before(command, services)


async def answer(command: RollbackDeployment, services: Services) -> DeploymentReport:
    """Give everybody the stable release now; whoever holds the rollout sees it, and ends it."""
    site = site_of(command.deployment, services)
    now = site.known()
    (site.home.path / TAKE_BACK).touch()
    await site.gateway.send(Route(stable=now.route.stable))
    words = f"{now.stable.label} gets every new request of {now.name} from now on; the rollout ends when it is drained."
    return (await look(site, now)).model_copy(update={"sentence": words})


async def work(command: RollbackDeployment, job: JobContext, services: Services) -> Outcome:
    """Go back to the release before this one, or end a rollout that nobody holds any more.

    Raises:
        AgentError: `not_found`, `engine_failed`.
    """
    site = site_of(command.deployment, services)
    report = await job.step("rolled-back", DeploymentReport, lambda: _back(site))
    status = InferenceStatus(
        state=JobState.COMPLETED,
        phase=StepKind.DEPLOYMENT,
        optimization=report.deployment.stable.label,
        detail=report.sentence,
        progress=1.0,
    )
    return Outcome(state=JobState.COMPLETED, summary=report.sentence, status=status, label=report.hash)


def _asked_before(command: RollbackDeployment, services: Services) -> bool:
    """Whether a rollout was to be taken back already, and still is not."""
    return (site_of(command.deployment, services).home.path / TAKE_BACK).exists()


async def _back(site: Site) -> DeploymentReport:
    now = site.known()
    if now.candidate is None:
        settled = await site.go_back(now)
    else:
        settled, _ = await site.settle(now, now.route.stable)
    words = f"{settled.stable.label} serves all requests of {now.name}."
    return (await look(site, settled)).model_copy(update={"sentence": words})


HANDLER = Handler(
    command=RollbackDeployment,
    summary="Gives all requests back to the release that served before, at once; what is under way is finished.",
    answer=answer,
    work=work,
    starts_job=starts_job,
)
