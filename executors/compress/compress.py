"""One door to every method: a model, a method's name and a text in; an artifact that its engine loads, out.

Nothing gets its final name before the method's own engine has loaded it and written a few words with it.
"""

import asyncio
import shutil
import time
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import NonNegativeInt, PositiveInt

from executors.compress import gguf
from executors.compress.gguf import PROMPT, SAMPLE_TOKENS, manifest_of
from executors.compress.gguf_header import read_header
from executors.compress.inspect import GROUPS, inspect
from executors.compress.methods import Form, Method, method
from executors.files import MEGA, describe, describe_folder, free_memory, free_room, partial_folder, write_whole
from executors.worker import Workbench, ask
from schemas.artifact import Artifact, FileDigest, Parameters, Text
from schemas.base import Record
from schemas.error import AgentError, ErrorCode

TOOL_BYTES = 1_000 * MEGA
"""Memory of the tool itself, torch and an engine's buffers, at the most; docs/methods.md has peaks that were seen."""


class Effort(Record):
    """How much calibration reads: sequences and their tokens; and steps, for methods that train or search."""

    samples: PositiveInt = 64
    tokens: PositiveInt = 512
    steps: PositiveInt = 200


USUAL = Effort()


class CompressRequest(Record):
    """What every `compress_*` worker is asked."""

    source: Path
    target: Path
    parameters: Parameters
    calibration: Path | None
    samples: PositiveInt
    tokens: PositiveInt
    steps: PositiveInt
    threads: PositiveInt
    state: Path
    """A folder of its own for what a later run goes on from; deleted when the artifact is whole."""


class CompressResult(Record):
    """What the tool used in the end, tokens it read, and the most memory its process held, in bytes."""

    event: Literal["result"]
    parameters: Parameters
    calibration_tokens: NonNegativeInt
    curve: tuple[float, ...] = ()
    """Loss of each training step, of a method that trains."""
    peak_bytes: PositiveInt


class SampleRequest(Record):
    """What `workers/sample.py` is asked."""

    model: Path
    engine: str
    prompt: str = PROMPT
    tokens: PositiveInt = SAMPLE_TOKENS
    threads: PositiveInt


class SampleResult(Record):
    """What the model wrote after the prompt."""

    event: Literal["result"]
    text: str
    vocabulary: PositiveInt


async def compress(
    name: str, source: Path, target: Path, *, calibration: Text, bench: Workbench, effort: Effort = USUAL
) -> Artifact:
    """Make `target` from `source` by the method called `name`, with its manifest beside it.

    `bench` must have the toolchain that the method names.

    Raises:
        AgentError: `unsupported` (unknown method, wrong kind of source), `unsafe_model`, `unreadable_model`,
            `out_of_memory`, `disk_full`, `tool_failed`.
    """
    chosen = method(name)
    _check_bench(chosen, bench)
    if chosen.output is Form.GGUF:
        return await gguf.quantize(source, name, target, importance=None, bench=bench)
    task = await asyncio.to_thread(_from_gguf if chosen.source is Form.GGUF else _from_folder, chosen, source)
    free_memory(int(TOOL_BYTES + task.weights * chosen.memory), name)
    with partial_folder(target) as folder:
        free_room(folder.parent, int(task.weights * chosen.disk), target.name)
        request = CompressRequest(
            source=source,
            target=folder,
            parameters=task.parameters,
            calibration=calibration.path if chosen.calibrated else None,
            samples=effort.samples,
            tokens=effort.tokens,
            steps=effort.steps,
            threads=bench.threads,
            state=target.with_name(f".resume-{target.name}"),
        )
        start = time.monotonic()
        result = await ask(bench, chosen.script, request, CompressResult)
        seconds = time.monotonic() - start
        words = await sample(folder, chosen.engine, bench)
        output, files = await asyncio.to_thread(describe_folder, folder)
        stamp = bench.toolchain.stamp
        artifact = Artifact(
            method=name,
            weight_format=chosen.weight_format,
            source_format=task.source_format,
            dequantised_from=task.dequantised_from,
            parameters=result.parameters,
            calibration=calibration if chosen.calibrated else None,
            calibration_tokens=result.calibration_tokens or None,
            tools=stamp.packages if stamp else bench.toolchain.spec.requirements,
            source=await asyncio.to_thread(_describe, source),
            output=output.model_copy(update={"name": target.name}),
            files=files,
            seconds=seconds,
            curve=result.curve,
            peak_bytes=result.peak_bytes,
            engine=chosen.engine,
            sample=words,
        )
        await asyncio.to_thread(_publish, folder, target, artifact)
    await asyncio.to_thread(shutil.rmtree, request.state, ignore_errors=True)
    return artifact


async def sample(model: Path, engine: str, bench: Workbench) -> str:
    """Load a folder with `engine`; what it writes after a fixed prompt.

    Raises:
        AgentError: `unreadable_model`, `out_of_memory`, `tool_failed`.
    """
    request = SampleRequest(model=model, engine=engine, threads=bench.threads)
    return (await ask(bench, "sample", request, SampleResult)).text


class _Task(NamedTuple):
    """What a source turned out to be: numbers in it, its format, the quantized one it once was in, all parameters."""

    weights: int
    source_format: str
    dequantised_from: str
    parameters: Parameters


def _check_bench(chosen: Method, bench: Workbench) -> None:
    if bench.toolchain.spec.name != chosen.toolchain:
        wanted = chosen.toolchain
        detail = f"{chosen.name} needs the toolchain {wanted}; run: inferwright toolchain install {wanted}"
        raise AgentError(ErrorCode.TOOLCHAIN_MISSING, detail)


def _from_gguf(chosen: Method, source: Path) -> _Task:
    header = read_header(source)
    found = gguf.SOURCE_NAMES.get(header.file_type if header.file_type is not None else -1, "unknown")
    return _Task(header.parameters, found, "" if found in gguf.PLAIN else found, chosen.parameters)


def _from_folder(chosen: Method, source: Path) -> _Task:
    if source.is_file():
        detail = (
            f"{chosen.name} reads a folder of safetensors and {source.name} is a file; make one by safetensors first"
        )
        raise AgentError(ErrorCode.UNSUPPORTED, detail)
    seen = inspect(source)
    parameters = chosen.parameters
    if chosen.grouped:
        asked = int(parameters.get("group_size", GROUPS[-1]))
        if asked > seen.group_size:
            widest = f"the widest that does is {seen.group_size}" if seen.group_size else "nor does any narrower one"
            detail = (
                f"{chosen.name} quantizes in groups of {asked}, which does not divide this model's widths; {widest}"
            )
            raise AgentError(ErrorCode.UNSUPPORTED, detail)
        parameters = {"group_size": seen.group_size} | parameters
    beside = manifest_of(source)
    once = gguf.manifest(source).dequantised_from if beside.exists() else ""
    return _Task(seen.parameters, seen.source_format, once, parameters)


def _describe(source: Path) -> FileDigest:
    return describe_folder(source)[0] if source.is_dir() else describe(source)


def _publish(folder: Path, target: Path, artifact: Artifact) -> None:
    """Folder and manifest get their names, the manifest last: where it is, the folder is whole."""
    manifest_of(target).unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    folder.rename(target)
    write_whole(manifest_of(target), artifact.model_dump_json(indent=2))
