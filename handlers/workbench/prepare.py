"""What a job needs before it measures: the machine to itself, the model's file, tools, texts and the host's figures."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from executors import models, texts, toolchain
from executors.files import locked, write_whole
from executors.host import identity, probe
from handlers.context import JobContext
from handlers.services import Services
from handlers.workbench.bench import Bench
from handlers.workshop import Workshop
from schemas.command import ModelCommand
from schemas.error import AgentError, ErrorCode
from schemas.hardware import HostFacts

log = structlog.get_logger()


@contextlib.asynccontextmanager
async def measuring(workshop: Workshop) -> AsyncIterator[None]:
    """The body while no other job measures on this machine: two at once would measure each other."""
    workshop.memory.mkdir(parents=True, exist_ok=True)
    async with locked(
        workshop.memory / "measuring.lock", lambda: log.info("waiting", reason="another job measures on this machine")
    ):
        yield


async def prepare(command: ModelCommand, source: Path, job: JobContext, services: Services) -> Bench:
    """The workbench of a job about the model in `source`, with the command kept beside its results.

    Raises:
        AgentError: `unreadable_model`, `toolchain_missing`.
    """
    workshop = services.workshop
    (job.directory / "logs").mkdir(exist_ok=True)
    write_whole(job.directory / "command.json", command.model_dump_json(exclude_unset=True, indent=1))
    tools = toolchain.find("llamacpp", workshop.cache)
    place = identity()
    host = await job.step(f"host-{place}", HostFacts, lambda: probe(job.directory / "logs" / "probe.log"))
    return Bench(
        agent=services.agent,
        place=place,
        model=command.model,
        source=source,
        job=job,
        workshop=workshop,
        tools=tools,
        texts=texts.find(workshop.cache, calibration=workshop.calibration_text, evaluation=workshop.evaluation_text),
        host=host,
    )


def find_any(name: str, services: Services) -> Path:
    """The file or folder of the model at hand that the sender named; a file where there are both.

    Raises:
        AgentError: `unknown_model`, with what there is; `unreadable_model`, `unsafe_model`.
    """
    roots = services.workshop.model_roots
    return models.locate(name, roots) or models.locate_folder(name, roots) or find(name, services)


def find(name: str, services: Services, job: str | None = None) -> Path:
    """The file of the model that the sender named: a model at hand, or a file that `job` made.

    Raises:
        AgentError: `unknown_model`, with what there is; `unreadable_model`.
    """
    roots = services.workshop.model_roots if job is None else (services.runs_dir / job,)
    path = models.locate(name, roots)
    if path is None:
        here = ", ".join(models.names(roots)) or "none"
        where = "here" if job is None else f"in {job}"
        raise AgentError(ErrorCode.UNKNOWN_MODEL, f"no weights of {name!r} are {where}; models at hand: {here}")
    return path
