"""EVALUATE_QUALITY in; as a job the gate's verdict on a model at hand, made by a job, or served."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from executors import models, toolchain
from executors.compress.methods import CONVERSION, method
from executors.measure.tasks import answering
from handlers.context import JobContext
from handlers.markdown.findings import quality_markdown
from handlers.optimization.delegate import hand_off, quality_work
from handlers.optimization.plots import draw_quality
from handlers.registry import Handler
from handlers.services import Services
from handlers.workbench.bench import Bench, Stage
from handlers.workbench.conditions import machine
from handlers.workbench.finding import end
from handlers.workbench.folders import folder_at, folder_base_of, folder_of
from handlers.workbench.prepare import find, find_any, measuring, prepare
from handlers.workbench.tasks import tasks_called, tested
from handlers.workbench.weights import Base, Weights, base_of, judged
from schemas.findings import QualityReport
from schemas.job import Outcome
from schemas.measurement import ServedModel
from schemas.plan import StepKind
from schemas.request import EvaluateQuality

LABEL = "quality_v1"


def starts_job(command: EvaluateQuality, services: Services) -> bool:
    """Always; refused at the door where one of the two, a task or a tool is not here.

    Raises:
        AgentError: `unknown_model`, `unreadable_model`, `unsafe_model`, `unsupported`, `toolchain_missing`.
    """
    candidate = _candidate(command, services)
    if _in_folders(find_any(command.model, services), candidate):
        toolchain.find(method(CONVERSION).toolchain, services.workshop.cache)
    tasks_called(command.tasks, services.workshop)
    return True


async def work(command: EvaluateQuality, job: JobContext, services: Services) -> Outcome:
    """The 16-bit form of the model, of the candidate's own kind, and the candidate against it."""
    candidate = _candidate(command, services)
    name = candidate.model if isinstance(candidate, ServedModel) else candidate.path.name
    async with measuring(services.workshop):
        bench = await prepare(command, find_any(command.model, services), job, services)
        base_for = folder_base_of if _in_folders(bench.source, candidate) else base_of
        base = await base_for(bench, Stage(LABEL, name, 0.1))
        stage = Stage(LABEL, name, 0.3)
        async with _reachable(bench, base, candidate, stage) as reached:
            gate = await judged(bench, base, reached, command.constraints.max_quality_loss, stage)
        tasks = await tested(bench, base, candidate, command.tasks, Stage(LABEL, name, 0.7))
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
        tasks=tasks,
        plots=draw_quality(job.directory, gate),
        baseline_note=base.note,
        handoffs=await hand_off(job, services.agent, command.model, tuple(quality_work({gate.verdict}))),
        hash=LABEL,
    )
    return end(bench, report, quality_markdown(report), gate=gate, phase=StepKind.VALIDATION)


def _candidate(command: EvaluateQuality, services: Services) -> Weights | ServedModel:
    """What is to be judged: a folder or a file that a job made, else a model that is served, else one at hand."""
    if command.job:
        made = folder_of(services, command.job, command.candidate)
        return made or Weights(find(command.candidate, services, command.job))
    if url := services.workshop.endpoints.get(command.candidate):
        return ServedModel(url=url, model=command.candidate)
    roots = services.workshop.model_roots
    folder = None if models.locate(command.candidate, roots) else models.locate_folder(command.candidate, roots)
    return folder_at(folder, services.workshop) if folder else Weights(find(command.candidate, services))


def _in_folders(source: Path, candidate: Weights | ServedModel) -> bool:
    """Whether the baseline is a folder: because the model is one, or the candidate."""
    return source.is_dir() or (isinstance(candidate, Weights) and candidate.tools is not None)


@contextlib.asynccontextmanager
async def _reachable(
    bench: Bench, base: Base, candidate: Weights | ServedModel, stage: Stage
) -> AsyncIterator[Weights | ServedModel]:
    """The candidate as the gate can score it: a GGUF against a folder is served, since no toolchain loads both."""
    if isinstance(candidate, ServedModel) or candidate.tools is not None or base.path.is_file():
        yield candidate
        return
    async with (
        bench.tool(StepKind.VALIDATION, stage, f"serve-{candidate.path.stem}") as tool,
        answering(candidate.path, candidate.engine, tool) as served,
    ):
        yield served


HANDLER = Handler(
    command=EvaluateQuality,
    summary="Scores a candidate against its baseline on the same tokens and lets the gate decide; runs tasks besides.",
    work=work,
    starts_job=starts_job,
)
