"""A run's report in, what it recommends rolled out in production out: mode `deploy` of OPTIMIZE_INFERENCE."""

import re
from pathlib import Path

from executors import toolchain
from executors.compress.methods import CONVERSION
from executors.files import write_whole
from handlers.context import JobContext
from handlers.deployment.desk import Desk, site_of
from handlers.deployment.rollout import roll_out
from handlers.deployment.watching import watch
from handlers.markdown.rollout import rollout_markdown
from handlers.services import Services
from handlers.workbench.prepare import find_any
from handlers.workbench.weights import BASE
from schemas.command import DEPLOYMENT_NAME, OptimizeInference
from schemas.deployment import Deployment, Release, RolloutEnd, RolloutOutcome
from schemas.error import AgentError
from schemas.job import Outcome
from schemas.plan import StepKind
from schemas.report import Report
from schemas.status import InferenceStatus, JobState

LONGEST = 31


def name_of(command: OptimizeInference) -> str:
    """The deployment that a command means: the one it names, else one named after the model."""
    if command.deployment:
        return command.deployment
    plain = re.sub(r"[^a-z0-9]+", "-", command.model.lower()).strip("-")[:LONGEST].strip("-")
    return plain if re.fullmatch(DEPLOYMENT_NAME, plain) else f"m-{plain}"[:LONGEST].strip("-")


async def deploy(command: OptimizeInference, report: Report, job: JobContext, services: Services) -> Outcome:
    """Roll out what the run recommends; where it recommends nothing, production stays as it is.

    Raises:
        AgentError: `not_available` for an engine that nothing here keeps up, and whatever else keeps the rollout from
            beginning; a rollout that goes back does not raise.
    """
    name = name_of(command)
    best = report.best
    if best is None or best.artifact is None:
        sentence = f"Nothing is rolled out as {name}: {report.sentence}"
        return Outcome(state=JobState.NOT_MET, summary=sentence, label=report.hash)
    site = site_of(name, services)
    strategy, artifact = best.candidate.strategy, best.artifact
    site.engines.kind(strategy.engine)  # where nothing here keeps it up, nothing is begun
    site.home.make()
    spec = command.rollout
    if spec.latency_p95 is None and command.targets.latency_p95 is not None:
        spec = spec.model_copy(update={"latency_p95": command.targets.latency_p95})
    desk = Desk(
        job=job,
        site=site,
        tools=toolchain.find("llamacpp", services.workshop.cache),
        workshop=services.workshop,
        spec=spec,
        max_quality_loss=command.constraints.max_quality_loss,
        label=strategy.label,
        version=report.hash,
    )

    async def make(before: Deployment | None) -> Release:
        weights = job.directory / artifact.path
        reference = _reference(weights, command, job, services)
        return site.release(before, strategy, weights, reference, gate=best.gate, job=job.job)

    outcome = await roll_out(desk, command.model, make)
    try:
        await watch(site, spec.watch, command.constraints.max_quality_loss, services.workshop)
    except AgentError as error:  # the rollout has ended all the same, and its status says how
        sentence = f"{outcome.sentence} Its quality is not watched: {error.detail}"
        outcome = outcome.model_copy(update={"sentence": sentence})
    write_whole(job.directory / "rollout.json", outcome.model_dump_json(indent=1))
    write_whole(job.directory / "rollout.md", rollout_markdown(outcome))
    return _ended(report, outcome)


def _reference(weights: Path, command: OptimizeInference, job: JobContext, services: Services) -> Path:
    """The 16-bit weights that `weights` were judged against: a file for a file, a folder for a folder."""
    if weights.is_file():
        return job.directory / f"{BASE}.gguf"
    made = job.directory / CONVERSION
    return made if made.is_dir() else find_any(command.model, services)


def _ended(report: Report, outcome: RolloutOutcome) -> Outcome:
    """The job's end: promoted is done, rolled back is not met, and the status says which is in production."""
    promoted = outcome.end is RolloutEnd.PROMOTED
    state = report.state if promoted else JobState.NOT_MET
    status = InferenceStatus(
        state=state,
        phase=StepKind.DEPLOYMENT,
        optimization=report.chosen or "",
        detail=outcome.sentence,
        progress=1.0,
    )
    return Outcome(state=state, summary=outcome.sentence, status=status, label=report.hash)
