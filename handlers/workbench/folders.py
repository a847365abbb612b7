"""Methods whose tools work on folders of safetensors: the 16-bit folder and smaller ones, each in its toolchain."""

import asyncio
from pathlib import Path

from executors import toolchain
from executors.compress.compress import Effort, compress
from executors.compress.gguf import MANIFEST, manifest
from executors.compress.inspect import inspect
from executors.compress.methods import CONVERSION, Method, loader, method
from handlers.services import Services
from handlers.workbench.bench import Bench, Stage
from handlers.workbench.weights import Base, Made, Weights
from handlers.workshop import Workshop
from schemas.artifact import Artifact
from schemas.plan import StepKind


def required(chosen: Method, workshop: Workshop) -> None:
    """Make sure that everything `chosen` runs in is installed.

    Raises:
        AgentError: `toolchain_missing`, with the command that installs it.
    """
    for name in (method(CONVERSION).toolchain, chosen.toolchain):
        toolchain.find(name, workshop.cache)


def folder_of(services: Services, job: str, name: str) -> Weights | None:
    """The folder called `name` that `job` made, None where it made no such folder.

    Raises:
        AgentError: `toolchain_missing` where the engine that loads it is not installed any more.
    """
    for notes in (services.runs_dir / job).glob(f"*{MANIFEST}"):
        folder = notes.with_name(notes.name.removesuffix(MANIFEST))
        if folder.is_dir() and folder.name.casefold() == name.strip().casefold():
            made = manifest(folder)
            tools = toolchain.find(method(made.method).toolchain, services.workshop.cache)
            return Weights(folder, made.engine, tools)
    return None


def folder_at(folder: Path, workshop: Workshop) -> Weights:
    """A folder of safetensors at hand, quantized or not, with the engine that loads it.

    Raises:
        AgentError: `unsupported` for a quantization that nothing here loads; `toolchain_missing`.
    """
    engine, tools = loader(folder)
    return Weights(folder, engine, toolchain.find(tools, workshop.cache))


async def folder_base_of(bench: Bench, stage: Stage) -> Base:
    """The model's own folder, or its 16-bit form as a folder in the job's directory.

    Raises:
        AgentError: as `inspect`, for a folder that is not sound.
    """
    conversion = method(CONVERSION)
    tools = toolchain.find(conversion.toolchain, bench.workshop.cache)
    if bench.source.is_dir():
        seen = await asyncio.to_thread(inspect, bench.source)
        return Base(bench.source, seen.source_format, tools)
    made = await _made(bench, conversion, bench.source, StepKind.BASELINE, stage)
    return Base(made.weights.path, made.artifact.source_format, tools, artifact=made.artifact)


async def compress_folder(bench: Bench, base: Base, chosen: Method, stage: Stage) -> Made:
    """A smaller folder, in the job's directory."""
    return await _made(bench, chosen, base.path, StepKind.OPTIMIZATION, stage)


async def _made(bench: Bench, chosen: Method, source: Path, phase: StepKind, stage: Stage) -> Made:
    limits, target = bench.workshop.effort, bench.job.directory / chosen.name
    effort = Effort(samples=limits.calibration_samples, tokens=limits.calibration_tokens, steps=limits.training_steps)
    tools = toolchain.find(chosen.toolchain, bench.workshop.cache)

    async def write() -> Artifact:
        async with bench.tool(phase, stage, f"compress-{chosen.name}", tools) as tool:
            text = bench.texts.calibration
            return await compress(chosen.name, source, target, calibration=text, bench=tool, effort=effort)

    await bench.say(phase, stage, f"making {target.name} from {source.name}")
    artifact = await bench.step(f"compress-{chosen.name}", Artifact, write)
    return Made(Weights(target, chosen.engine, tools), artifact)
