"""QUANTIZE_MODEL in; as a job the smaller form of a model, judged against the untouched one, and kept."""

from executors.compress.gguf import recipe
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
    """Always; refused at the door where there are no weights or no such method.

    Raises:
        AgentError: `unknown_model`, `unreadable_model`, `unsupported`.
    """
    recipe(command.method)
    find(command.model, services)
    return True


async def work(command: QuantizeModel, job: JobContext, services: Services) -> Outcome:
    """F16 form, smaller form, verdict; the file stays in the job's directory whatever the gate says of it."""
    made_by = recipe(command.method)
    async with measuring(services.workshop):
        bench = await prepare(command, find(command.model, services), job, services)
        base = await base_of(bench, Stage(LABEL, command.method, 0.1))
        path, artifact = await compress(bench, base, made_by, Stage(LABEL, command.method, 0.2))
        limit = command.constraints.max_quality_loss
        gate = await judged(bench, base.path, path, limit, Stage(LABEL, command.method, 0.4))
    predicted = loss(from_file(bench.source), made_by.weight_format, importance_matrix=made_by.importance_matrix)
    comparison = Comparison(metric="quality_loss", predicted=predicted, measured=quality_loss(gate))
    strategy = Strategy(
        engine="llama.cpp",
        weight_format=made_by.weight_format,
        importance_matrix=made_by.importance_matrix,
        accelerator="host",
    )
    await learn(bench, strategy, (comparison,), None)
    handoffs = await hand_off(job, services.agent, command.model, tuple(quality_work({gate.verdict})))
    report = QualityReport(
        job=job.job,
        cmd=command.cmd,
        model=command.model,
        state=gate.verdict.state,
        sentence=f"{gate.sentence} It is {artifact.output.bytes / artifact.source.bytes:.0%} of the F16 form's size.",
        conditions=machine(bench.host),
        host=bench.host,
        candidate=path.name,
        gate=gate,
        artifact=artifact,
        comparisons=(comparison,),
        baseline_note=base.note,
        handoffs=handoffs,
        hash=LABEL,
    )
    return end(bench, report, quality_markdown(report), gate=gate, phase=StepKind.VALIDATION)


HANDLER = Handler(
    command=QuantizeModel,
    summary="Compresses a model by a named method, judges it against the untouched one, and keeps it.",
    work=work,
    starts_job=starts_job,
)
