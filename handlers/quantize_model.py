"""QUANTIZE_MODEL in; as a job the smaller form of a model, judged against the untouched one, and kept."""

from pathlib import Path

from executors.compress.elsewhere import GpuMethod, gpu_methods
from executors.compress.gguf import FORMATS, Recipe, recipe
from executors.compress.methods import Method, method, require_engine
from executors.serve.registry import ENGINES
from handlers.context import JobContext
from handlers.markdown.findings import quality_markdown
from handlers.optimization.advice import from_file, model_of
from handlers.optimization.delegate import hand_off, quality_work
from handlers.optimization.elsewhere import rendered
from handlers.optimization.plots import draw_quality
from handlers.optimization.verdict import quality_loss
from handlers.registry import Handler
from handlers.services import Services
from handlers.workbench.bench import Stage
from handlers.workbench.conditions import machine
from handlers.workbench.finding import end
from handlers.workbench.folders import compress_folder, folder_base_of, required
from handlers.workbench.memory import learn
from handlers.workbench.prepare import find_any, measuring, prepare
from handlers.workbench.weights import base_of, compress, judged
from planners.quality import loss
from schemas.error import AgentError, ErrorCode
from schemas.findings import QualityReport
from schemas.job import Outcome
from schemas.plan import StepKind, Strategy
from schemas.report import Comparison
from schemas.request import QuantizeModel

LABEL = "quality_v1"


def starts_job(command: QuantizeModel, services: Services) -> bool:
    """Always; refused at the door: no weights, no such method, none of the engines that load it, tools not installed.

    Raises:
        AgentError: `unknown_model`, `unreadable_model`, `unsupported`, `toolchain_missing`.
    """
    chosen = method_named(command.method)
    if isinstance(chosen, GpuMethod):
        require_engine(chosen, command.constraints.engines)
        model_of(command.model, services.workshop)
        return True
    source = find_any(command.model, services)
    if isinstance(chosen, Method):
        require_engine(chosen, command.constraints.engines)
        required(chosen, services.workshop)
    else:
        require_engine(method(chosen.weight_format), command.constraints.engines)
        _require_gguf(source, chosen)
    return True


def _require_gguf(source: Path, chosen: Recipe) -> None:
    if source.is_dir():
        detail = f"{chosen.stem} is made from a GGUF file and {source.name} is a folder; name a method for folders"
        raise AgentError(ErrorCode.UNSUPPORTED, detail)


async def work(command: QuantizeModel, job: JobContext, services: Services) -> Outcome:
    """16-bit form, smaller form, verdict; what was made stays in the job's directory whatever the gate says of it."""
    chosen = method_named(command.method)
    if isinstance(chosen, GpuMethod):
        return await rendered(command, chosen, job, services)
    before, during, after = (Stage(LABEL, command.method, share) for share in (0.1, 0.2, 0.6))
    async with measuring(services.workshop):
        bench = await prepare(command, find_any(command.model, services), job, services)
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
        engine=next((one.name for one in ENGINES.values() if one.loads == made.weights.engine), made.weights.engine),
        weight_format=artifact.weight_format,
        importance_matrix=matrix,
        accelerator="host",
    )
    if not (isinstance(chosen, Recipe) and chosen.mixed):  # a format of its own, of which no plan says anything
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
        plots=draw_quality(job.directory, gate),
        baseline_note=base.note,
        handoffs=handoffs,
        hash=LABEL,
    )
    return end(bench, report, quality_markdown(report), gate=gate, phase=StepKind.VALIDATION)


def method_named(name: str) -> Method | Recipe | GpuMethod:
    """The method that works on folders by that name, one that needs a GPU, else the GGUF recipe.

    Raises:
        AgentError: `unsupported`, with the names that there are.
    """
    is_gguf = name.strip().upper().partition("+")[0] in FORMATS
    plain = name.strip().lower()
    return recipe(name) if is_gguf else gpu_methods().get(plain) or method(plain)


HANDLER = Handler(
    command=QuantizeModel,
    summary="Compresses a model by a named method, judges it against the untouched one, and keeps it.",
    work=work,
    starts_job=starts_job,
)
