"""What a job needs before it measures: tools, texts, the host's figures, the model and its F16 form."""

from pathlib import Path

from executors import models, texts, toolchain
from executors.compress.gguf import quantize
from executors.files import write_whole
from executors.host import identity, probe
from executors.worker import Workbench
from handlers.context import JobContext
from handlers.optimization.advice import facts, from_file
from handlers.optimization.bench import Bench
from handlers.services import Services
from handlers.workshop import Workshop
from planners.plan import Facts
from schemas.artifact import Artifact
from schemas.command import OptimizeInference
from schemas.error import AgentError, ErrorCode
from schemas.hardware import HostFacts

BASE = "F16"


async def prepare(command: OptimizeInference, job: JobContext, services: Services) -> tuple[Bench, Facts]:
    """The workbench of a job, and the facts that its first plan stands on.

    Raises:
        AgentError: `unknown_model`, `unreadable_model`, `toolchain_missing`, `disk_full`.
    """
    workshop = services.workshop
    (job.directory / "logs").mkdir(exist_ok=True)
    write_whole(job.directory / "command.json", command.model_dump_json(exclude_unset=True, indent=1))
    source = find(command.model, workshop)
    model = from_file(source)
    tools = toolchain.find("llamacpp", workshop.cache)
    place = identity()
    host = await job.step(f"host-{place}", HostFacts, lambda: probe(job.directory / "logs" / "probe.log"))
    base = job.directory / f"{BASE}.gguf"
    tool = Workbench(tools, 1, job.directory / "logs" / "base.log")
    made = await job.step(f"base-{place}", Artifact, lambda: quantize(source, BASE, base, importance=None, bench=tool))
    bench = Bench(
        agent=services.agent,
        place=place,
        command=command,
        job=job,
        workshop=workshop,
        tools=tools,
        texts=texts.find(workshop.cache, calibration=workshop.calibration_text, evaluation=workshop.evaluation_text),
        host=host,
        base=base,
        made=made,
    )
    idle = host.model_copy(update={"cores": bench.threads})
    return bench, facts(model, command, workshop, idle)


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
