"""QUANTIZE_MODEL in; as a job the smaller form of a model, judged against the untouched one, and kept."""

from executors.compress.gguf import FORMATS, IMATRIX, Recipe, recipe
from executors.compress.methods import Method, method
from handlers.context import JobContext
from handlers.markdown.findings import quality_markdown
from handlers.optimization.advice import from_file
from handlers.optimization.delegate import hand_off, quality_work
from handlers.optimization.verdict import quality_loss
from handlers.registry import Handler
from handlers.services import Services
from handlers.workbench.bench import Stage
from handlers.workbench.conditions import machine
from handlers.workbench.finding import end
from handlers.workbench.folders import compress_folder, folder_base_of, required
from handlers.workbench.memory import learn
from handlers.workbench.prepare import find, measuring, prepare
from handlers.workbench.weights import base_of, compress, judged
from planners.quality import loss
from schemas.findings import QualityReport
from schemas.job import Outcome
from schemas.plan import StepKind, Strategy
from schemas.report import Comparison
from schemas.request import QuantizeModel

LABEL = "quality_v1"


def starts_job(command: QuantizeModel, services: Services) -> bool:
    """Always; refused at the door where there are no weights, no such method, or its tools are not installed.

    Raises:
        AgentError: `unknown_model`, `unreadable_model`, `unsupported`, `toolchain_missing`.
    """
    chosen = method_named(command.method)
    if isinstance(chosen, Method):
        required(chosen, services.workshop)
    find(command.model, services)
    return True


async def work(command: QuantizeModel, job: JobContext, services: Services) -> Outcome:
    """16-bit form, smaller form, verdict; what was made stays in the job's directory whatever the gate says of it."""
    chosen = method_named(command.method)
    before, during, after = (Stage(LABEL, command.method, share) for share in (0.1, 0.2, 0.6))
    async with measuring(services.workshop):
        bench = await prepare(command, find(command.model, services), job, services)
        if isinstance(chosen, Method):
            base = await folder_base_of(bench, before)
            made = await compress_folder(bench, base, chosen, during)
        else:
            base = await base_of(bench, before)
            made = await compress(bench, base, chosen, during)
        gate = await judged(bench, base, made.weights, command.constraints.max_quality_loss, after)
    artifact, matrix = made.artifact, isinstance(chosen, Recipe) and chosen.importance_matrix
    predicted = loss(from_file(bench.source), artifact.weight_format, importance_matrix=matrix)
    comparison = Comparison(metric="quality_loss", predicted=predicted, measured=quality_loss(gate))
    strategy = Strategy(
        engine=made.weights.engine,
        weight_format=artifact.weight_format,
        importance_matrix=matrix,
        accelerator="host",
    )
    await learn(bench, strategy, (comparison,), None)
    handoffs = await hand_off(job, services.agent, command.model, tuple(quality_work({gate.verdict})))
    report = QualityReport(
        job=job.job,
        cmd=command.cmd,
        model=command.model,
        state=gate.verdict.state,
        sentence=f"{gate.sentence} It takes {artifact.output.bytes / artifact.source.bytes:.0%} of the 16-bit form.",
        conditions=machine(bench.host),
        host=bench.host,
        candidate=made.weights.path.name,
        gate=gate,
        artifact=artifact,
        comparisons=(comparison,),
        baseline_note=base.note,
        handoffs=handoffs,
        hash=LABEL,
    )
    return end(bench, report, quality_markdown(report), gate=gate, phase=StepKind.VALIDATION)


def method_named(name: str) -> Method | Recipe:
    """The method that works on folders by that name, else the GGUF recipe.

    Raises:
        AgentError: `unsupported`, with the names that there are.
    """
    is_gguf = name.strip().upper().removesuffix(IMATRIX.upper()) in FORMATS
    return recipe(name) if is_gguf else method(name.strip().lower())


HANDLER = Handler(
    command=QuantizeModel,
    summary="Compresses a model by a named method, judges it against the untouched one, and keeps it.",
    work=work,
    starts_job=starts_job,
)
