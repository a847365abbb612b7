"""What a job needs before it measures: the model's file, tools, texts and the host's figures."""

from pathlib import Path

from executors import models, texts, toolchain
from executors.files import write_whole
from executors.host import identity, probe
from handlers.context import JobContext
from handlers.services import Services
from handlers.workbench.bench import Bench
from handlers.workshop import Workshop
from schemas.command import Command
from schemas.error import AgentError, ErrorCode
from schemas.hardware import HostFacts


async def prepare(command: Command, model: str, job: JobContext, services: Services) -> Bench:
    """The workbench of a job about `model`, with the command kept beside its results.

    Raises:
        AgentError: `unknown_model`, `unreadable_model`, `toolchain_missing`.
    """
    workshop = services.workshop
    (job.directory / "logs").mkdir(exist_ok=True)
    write_whole(job.directory / "command.json", command.model_dump_json(exclude_unset=True, indent=1))
    source = find(model, workshop)
    tools = toolchain.find("llamacpp", workshop.cache)
    place = identity()
    host = await job.step(f"host-{place}", HostFacts, lambda: probe(job.directory / "logs" / "probe.log"))
    return Bench(
        agent=services.agent,
        place=place,
        model=model,
        source=source,
        job=job,
        workshop=workshop,
        tools=tools,
        texts=texts.find(workshop.cache, calibration=workshop.calibration_text, evaluation=workshop.evaluation_text),
        host=host,
    )


def find(name: str, workshop: Workshop) -> Path:
    """The file of the model that the sender named.

    Raises:
        AgentError: `unknown_model`, with what there is; `unreadable_model`.
    """
    path = models.locate(name, workshop.model_roots)
    if path is None:
        here = ", ".join(models.names(workshop.model_roots)) or "none"
        raise AgentError(ErrorCode.UNKNOWN_MODEL, f"no weights of {name!r} are here; models at hand: {here}")
    return path
