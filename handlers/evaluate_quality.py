"""EVALUATE_QUALITY in; as a job the gate's verdict on a model at hand, or on a file that another job made."""

from handlers.context import JobContext
from handlers.markdown.findings import quality_markdown
from handlers.optimization.delegate import hand_off, quality_work
from handlers.registry import Handler
from handlers.services import Services
from handlers.workbench.bench import Stage
from handlers.workbench.conditions import machine
from handlers.workbench.finding import end
from handlers.workbench.folders import folder_base_of, folder_of
from handlers.workbench.prepare import find, measuring, prepare
from handlers.workbench.weights import Weights, base_of, judged
from schemas.findings import QualityReport
from schemas.job import Outcome
from schemas.plan import StepKind
from schemas.request import EvaluateQuality

LABEL = "quality_v1"


def starts_job(command: EvaluateQuality, services: Services) -> bool:
    """Always; refused at the door where one of the two is not here.

    Raises:
        AgentError: `unknown_model`, `unreadable_model`, `toolchain_missing`.
    """
    find(command.model, services)
    _candidate(command, services)
    return True


async def work(command: EvaluateQuality, job: JobContext, services: Services) -> Outcome:
    """The 16-bit form of the model, of the candidate's own kind, and the candidate against it."""
    candidate = _candidate(command, services)
    name = candidate.path.name
    async with measuring(services.workshop):
        bench = await prepare(command, find(command.model, services), job, services)
        base_for = folder_base_of if candidate.tools else base_of
        base = await base_for(bench, Stage(LABEL, name, 0.1))
        gate = await judged(bench, base, candidate, command.constraints.max_quality_loss, Stage(LABEL, name, 0.3))
    report = QualityReport(
        job=job.job,
        cmd=command.cmd,
        model=command.model,
        state=gate.verdict.state,
        sentence=gate.sentence,
        conditions=machine(bench.host),
        host=bench.host,
        candidate=name,
        gate=gate,
        baseline_note=base.note,
        handoffs=await hand_off(job, services.agent, command.model, tuple(quality_work({gate.verdict}))),
        hash=LABEL,
    )
    return end(bench, report, quality_markdown(report), gate=gate, phase=StepKind.VALIDATION)


def _candidate(command: EvaluateQuality, services: Services) -> Weights:
    """What is to be judged: a folder or a file that a job made, else a model at hand."""
    folder = folder_of(services, command.job, command.candidate) if command.job else None
    return folder or Weights(find(command.candidate, services, command.job))


HANDLER = Handler(
    command=EvaluateQuality,
    summary="Scores a candidate against its baseline on the same tokens and lets the gate decide.",
    work=work,
    starts_job=starts_job,
)
