"""A run whose gate passed in, its release in the operator's cluster out: beside what serves, without requests."""

from executors.deploy.kubectl import Cluster, apply
from handlers.context import JobContext
from handlers.handover.leave import FOLDER, GUIDE
from handlers.optimization.delegate import hand_off, told
from schemas.base import Record
from schemas.delegation import Peer
from schemas.job import Outcome
from schemas.plan import PlannedHandoff, StepKind
from schemas.report import Report
from schemas.status import InferenceStatus, JobState


class Applied(Record):
    """What kubectl said of each object."""

    lines: tuple[str, ...]


async def to_cluster(report: Report, job: JobContext, agent: str, cluster: Cluster) -> Outcome:
    """Apply the manifests of what the run recommends; weights and requests are left to devops-engineer.

    Raises:
        AgentError: `tool_failed` where the cluster refuses.
    """
    folder = job.directory / FOLDER / "kubernetes"
    if not report.handover or not folder.is_dir():
        why = report.sentence if not report.handover else f"no manifests could be written; {GUIDE} says why"
        return _ended(report, f"Nothing is applied to the cluster: {why}", JobState.NOT_MET)

    async def work() -> Applied:
        log = job.directory / "logs" / "kubectl.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        return Applied(lines=await apply(folder, cluster, log))

    applied = await job.step("kubectl-apply", Applied, work)
    wanted = PlannedHandoff(
        peer=Peer.DEVOPS,
        work=f"copy the weights to the cluster's volume, watch the release come up, then move requests as {GUIDE} says",
        deliverables=("the release's share of the requests", "alerts that fired"),
    )
    outcomes = await hand_off(job, agent, report.model, (wanted,))
    sentence = (
        f"{len(applied.lines)} objects are applied to the namespace {cluster.namespace}, beside what serves there and "
        f"without any request yet. {'; '.join(told(outcomes))}."
    )
    return _ended(report, sentence, report.state)


def _ended(report: Report, sentence: str, state: JobState) -> Outcome:
    status = InferenceStatus(
        state=state, phase=StepKind.DEPLOYMENT, optimization=report.chosen or "", detail=sentence, progress=1.0
    )
    return Outcome(state=state, summary=sentence, status=status, label=report.hash)
