"""What a job needs before it measures: tools, texts, the host's figures, the model and its F16 form."""

from pathlib import Path

from planners.catalog import accelerator_from_host, model_from_gguf
from planners.corrections import Corrections
from planners.plan import Facts
from planners.prices import load_prices

from executors import models, texts, toolchain
from executors.compress.gguf import quantize
from executors.host import probe
from executors.worker import Workbench
from handlers.context import JobContext
from handlers.optimization.bench import Bench, Stage
from handlers.workshop import Workshop
from schemas.artifact import Artifact
from schemas.command import OptimizeInference
from schemas.error import AgentError, ErrorCode
from schemas.hardware import HostFacts, Pool
from schemas.plan import StepKind

BASE = "F16"


async def prepare(command: OptimizeInference, job: JobContext, workshop: Workshop) -> tuple[Bench, Facts]:
    """The workbench of a job, and the facts that its first plan stands on.

    Raises:
        AgentError: `unknown_model`, `unreadable_model`, `toolchain_missing`, `disk_full`.
    """
    (job.directory / "logs").mkdir(exist_ok=True)
    source = find(command.model, workshop)
    model = model_from_gguf(models.header(source), source.name)
    tools = toolchain.find("llamacpp", workshop.cache)
    host = await job.step("host", HostFacts, lambda: probe(job.directory / "logs" / "probe.log"))
    bench = Bench(
        command=command,
        job=job,
        workshop=workshop,
        tools=tools,
        texts=texts.find(workshop.cache, calibration=workshop.calibration_text, evaluation=workshop.evaluation_text),
        host=host,
        model=model,
        base=job.directory / f"{BASE}.gguf",
    )
    stage = Stage("inf_opt_v0", "baseline", 0.05)
    await bench.say(StepKind.BASELINE, stage, f"making the F16 baseline from {source.name}")
    await job.step("base", Artifact, lambda: _base(bench, source))
    return bench, facts_of(bench)


def find(name: str, workshop: Workshop) -> Path:
    """The file of the model that the sender named.

    Raises:
        AgentError: `unknown_model`, with what there is.
    """
    path = models.locate(name, workshop.model_roots)
    if path is None:
        here = ", ".join(models.names(workshop.model_roots)) or "none"
        raise AgentError(ErrorCode.UNKNOWN_MODEL, f"no weights of {name!r} are here; models at hand: {here}")
    return path


def facts_of(bench: Bench) -> Facts:
    """What the planner is told: this host is the only hardware."""
    cap = bench.workshop.effort.max_threads
    host = bench.host.model_copy(update={"cores": bench.threads}) if cap else bench.host
    prices = bench.workshop.price_file
    return Facts(
        model=bench.model,
        pools=(Pool(accelerator=accelerator_from_host(host), count=1),),
        host=host,
        prices=load_prices(prices.read_text() if prices else None),
        corrections=Corrections(),
    )


async def _base(bench: Bench, source: Path) -> Artifact:
    return await quantize(
        source,
        BASE,
        bench.base,
        importance=None,
        bench=Workbench(bench.tools, bench.threads, bench.log("base")),
    )
