"""EVALUATE_QUALITY in; as a job the gate's verdict on a model at hand, or on a file that another job made."""

from handlers.context import JobContext
from handlers.markdown.findings import quality_markdown
from handlers.optimization.delegate import hand_off, quality_work
from handlers.registry import Handler
from handlers.services import Services
from handlers.workbench.bench import Stage
from handlers.workbench.conditions import machine
from handlers.workbench.finding import end
from handlers.workbench.prepare import find, measuring, prepare
from handlers.workbench.weights import base_of, judged
from schemas.findings import QualityReport
from schemas.job import Outcome
from schemas.plan import StepKind
from schemas.request import EvaluateQuality

LABEL = "quality_v1"


def starts_job(command: EvaluateQuality, services: Services) -> bool:
    """Always; refused at the door where one of the two is not here.

    Raises:
        AgentError: `unknown_model`, `unreadable_model`.
    """
    find(command.model, services)
    find(command.candidate, services, command.job)
    return True


async def work(command: EvaluateQuality, job: JobContext, services: Services) -> Outcome:
    """The F16 form of the model, and the candidate against it."""
    candidate = find(command.candidate, services, command.job)
    async with measuring(services.workshop):
        bench = await prepare(command, find(command.model, services), job, services)
        base = await base_of(bench, Stage(LABEL, candidate.stem, 0.1))
        limit = command.constraints.max_quality_loss
        gate = await judged(bench, base.path, candidate, limit, Stage(LABEL, candidate.stem, 0.3))
    report = QualityReport(
        job=job.job,
        cmd=command.cmd,
        model=command.model,
        state=gate.verdict.state,
        sentence=gate.sentence,
        conditions=machine(bench.host),
        host=bench.host,
        candidate=candidate.name,
        gate=gate,
        baseline_note=base.note,
        handoffs=await hand_off(job, services.agent, command.model, tuple(quality_work({gate.verdict}))),
        hash=LABEL,
    )
    return end(bench, report, quality_markdown(report), gate=gate, phase=StepKind.VALIDATION)


HANDLER = Handler(
    command=EvaluateQuality,
    summary="Scores a candidate against its baseline on the same tokens and lets the gate decide.",
    work=work,
    starts_job=starts_job,
)
