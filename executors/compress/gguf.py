"""GGUF by llama.cpp's own quantizer: a GGUF and a weight format in; a file that loads, and its manifest, out.

Nothing gets its final name before llama.cpp has loaded it, validated its tensors and written a few words with it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from pydantic import NonNegativeInt, PositiveInt, ValidationError

from executors.compress.gguf_header import read_header
from executors.files import MEGA, describe, free_memory, free_room, partial
from executors.worker import Workbench, ask
from schemas.artifact import Artifact, Text
from schemas.base import Record
from schemas.error import AgentError, ErrorCode
from schemas.gguf import GgufHeader

MANIFEST = ".json"
"""Appended to the file's name."""
PROMPT = "The Industrial Revolution began in"
SAMPLE_TOKENS = 16
IMPORTANCE_CONTEXT = 512
TOOL_BYTES = 200 * MEGA
"""Memory of the quantizer itself and of its buffers; source and result, which it maps and fills, come on top."""
IMPORTANCE_BYTES = 64 * MEGA
"""More than a float for every input column of every matrix comes to."""


class Format(NamedTuple):
    """A weight format: its number in `enum llama_ftype`, and bits per weight at the most.

    The bits are an upper bound for the check of room on disk: a small model whose width is no multiple of 256 and whose
    tied embedding stays at 8 bits measured 8.6 for Q8_0, 6.7 for Q5_K_M, 6.3 for Q4_K_M, 5.6 for Q3_K_M, 5.3 for Q2_K.
    """

    ftype: int
    bits: float


FORMATS = {
    "F16": Format(1, 16.5),
    "Q4_0": Format(2, 6.0),
    "Q8_0": Format(7, 9.0),
    "Q5_0": Format(8, 7.0),
    "Q2_K": Format(10, 6.0),
    "Q3_K_M": Format(12, 6.0),
    "Q4_K_S": Format(14, 7.0),
    "Q4_K_M": Format(15, 7.0),
    "Q5_K_S": Format(16, 7.5),
    "Q5_K_M": Format(17, 7.5),
    "Q6_K": Format(18, 9.0),
    "IQ4_NL": Format(25, 6.0),
    "IQ4_XS": Format(30, 6.0),
}
SOURCE_NAMES = {form.ftype: name for name, form in FORMATS.items()} | {0: "F32", 3: "Q4_1", 9: "Q5_1", 32: "BF16"}
PLAIN = frozenset({"F32", "F16", "BF16"})
IMATRIX = "+imatrix"
MIX = "+mix"
MIXED = {r"attn_v\.weight": 8, r"ffn_down\.weight": 8}
"""What `+mix` keeps in a format of its own: a pattern of tensor names, and `enum ggml_type` (8 is Q8_0).

llama.cpp's own mixes favour the same two (llama-quant.cpp), but in steps of one or two bits.
"""


class Recipe(NamedTuple):
    """A weight format; whether an importance matrix weighs what is rounded away, and `MIXED` tensors keep 8 bits."""

    weight_format: str
    importance_matrix: bool
    mixed: bool = False

    @property
    def stem(self) -> str:
        """The name of a file made by it."""
        return self.weight_format + "-mix" * self.mixed + "-imatrix" * self.importance_matrix


class QuantizeRequest(Record):
    """What `workers/llamacpp_quantize.py` is asked."""

    source: Path
    target: Path
    ftype: NonNegativeInt
    requantize: bool
    importance: Path | None
    overrides: dict[str, int]
    """Patterns of tensor names, and the `enum ggml_type` that those tensors get instead."""
    threads: PositiveInt


class QuantizeResult(Record):
    """Tensors written, and how many of them an importance matrix weighed."""

    event: Literal["result"]
    tensors: NonNegativeInt
    weighted: NonNegativeInt


class ImportanceRequest(Record):
    """What `workers/llamacpp_imatrix.py` is asked."""

    model: Path
    text: Path
    target: Path
    n_ctx: PositiveInt = IMPORTANCE_CONTEXT
    max_tokens: PositiveInt
    threads: PositiveInt


class ImportanceResult(Record):
    """Matrices weighed, and tokens read."""

    event: Literal["result"]
    tensors: PositiveInt
    tokens: PositiveInt


class CheckRequest(Record):
    """What `workers/llamacpp_check.py` is asked."""

    model: Path
    prompt: str = PROMPT
    tokens: PositiveInt = SAMPLE_TOKENS
    threads: PositiveInt


class CheckResult(Record):
    """What the model wrote after the prompt."""

    event: Literal["result"]
    text: str
    vocabulary: PositiveInt


def recipe(name: str) -> Recipe:
    """The recipe that a person names: `Q5_K_M`, `q4_k_m+imatrix`.

    Raises:
        AgentError: `unsupported`, with the names that there are.
    """
    plain, *added = name.strip().upper().split("+")
    found = Recipe(plain, IMATRIX[1:].upper() in added, MIX[1:].upper() in added)
    extra = found.importance_matrix + found.mixed
    if plain not in FORMATS or extra != len(added) or (extra and plain in PLAIN):
        detail = f"there is no method {name!r}; there are {', '.join(FORMATS)}, the quantized ones also with "
        raise AgentError(ErrorCode.UNSUPPORTED, detail + f"{IMATRIX} and {MIX}")
    return found


def format_of(header: GgufHeader) -> str:
    """The weight format that a file says it has, or `unknown`."""
    return SOURCE_NAMES.get(-1 if header.file_type is None else header.file_type, "unknown")


async def quantize(
    source: Path,
    weight_format: str,
    target: Path,
    *,
    importance: Path | None,
    bench: Workbench,
    overrides: Mapping[str, int] = MappingProxyType({}),
) -> Artifact:
    """Write `source` as `weight_format`, tensors that `overrides` names otherwise, to `target`, its manifest beside it.

    Raises:
        AgentError: `unsupported` for another format, `unreadable_model`, `out_of_memory`, `disk_full`, `tool_failed`.
    """
    if weight_format not in FORMATS:
        raise AgentError(ErrorCode.UNSUPPORTED, f"GGUF has no {weight_format!r} here; there are {', '.join(FORMATS)}")
    form = FORMATS[weight_format]
    header = await asyncio.to_thread(read_header, source)
    source_format = format_of(header)
    matrix = manifest(importance) if importance else None
    bits = max(form.bits, FORMATS["Q8_0"].bits) if overrides else form.bits
    needed = int(header.parameters * bits / 8)
    free_memory(source.stat().st_size + needed + TOOL_BYTES, f"{weight_format} of {source.name}")

    async def write(path: Path) -> Artifact:
        request = QuantizeRequest(
            source=source,
            target=path,
            ftype=form.ftype,
            requantize=source_format not in PLAIN,
            importance=importance,
            overrides=dict(overrides),
            threads=bench.threads,
        )
        start = time.monotonic()
        await ask(bench, "llamacpp_quantize", request, QuantizeResult)
        seconds = time.monotonic() - start
        sample = await check(path, bench)
        return Artifact(
            method="gguf",
            weight_format=weight_format,
            source_format=source_format,
            parameters={f"tensor_type.{pattern}": kind for pattern, kind in overrides.items()},
            importance=matrix.output if matrix else None,
            calibration=matrix.calibration if matrix else None,
            calibration_tokens=matrix.calibration_tokens if matrix else None,
            tools=_tools(bench),
            source=await asyncio.to_thread(describe, source),
            output=await asyncio.to_thread(describe, path),
            seconds=seconds,
            sample=sample,
        )

    return await _publish(target, needed, write)


async def compute_importance(model: Path, target: Path, *, text: Text, tokens: int, bench: Workbench) -> Artifact:
    """Compute an importance matrix of `model` over the beginning of `text`, at most `tokens` tokens.

    Raises:
        AgentError: `unsupported` (too short a text, no plain matrices), `unreadable_model`, `disk_full`, `tool_failed`.
    """
    header = await asyncio.to_thread(read_header, model)
    source_format = format_of(header)

    async def write(path: Path) -> Artifact:
        request = ImportanceRequest(model=model, text=text.path, target=path, max_tokens=tokens, threads=bench.threads)
        start = time.monotonic()
        result = await ask(bench, "llamacpp_imatrix", request, ImportanceResult)
        return Artifact(
            method="importance_matrix",
            weight_format=source_format,
            source_format=source_format,
            calibration=text,
            calibration_tokens=result.tokens,
            tools=_tools(bench),
            source=await asyncio.to_thread(describe, model),
            output=await asyncio.to_thread(describe, path),
            seconds=time.monotonic() - start,
        )

    return await _publish(target, IMPORTANCE_BYTES, write)


async def check(model: Path, bench: Workbench) -> str:
    """Load a model with llama.cpp, validate its tensors; what it writes after a fixed prompt.

    Raises:
        AgentError: `unreadable_model`, `out_of_memory`, `tool_failed`.
    """
    await asyncio.to_thread(read_header, model)
    result = await ask(bench, "llamacpp_check", CheckRequest(model=model, threads=bench.threads), CheckResult)
    return result.text


def manifest_of(path: Path) -> Path:
    """Where the manifest of a file is; it gets its name after the file, so that where it is, the file is whole."""
    return path.with_name(path.name + MANIFEST)


def manifest(path: Path) -> Artifact:
    """The manifest beside a file that one of these methods made.

    Raises:
        AgentError: `not_available` where there is none: the file was not made here, or not finished.
    """
    beside = manifest_of(path)
    try:
        return Artifact.model_validate_json(beside.read_bytes())
    except (OSError, ValidationError) as error:
        raise AgentError(ErrorCode.NOT_AVAILABLE, f"{path.name} has no readable manifest; make it again") from error


async def _publish(target: Path, needed: int, write: Callable[[Path], Awaitable[Artifact]]) -> Artifact:
    """Let `write` fill a partial file, then give file and manifest their names, the file first."""
    with partial(target) as path:
        free_room(path.parent, needed, target.name)
        draft = await write(path)
        output = draft.output.model_copy(update={"name": target.name})
        artifact = draft.model_copy(update={"output": output})
        with partial(manifest_of(target)) as notes:
            notes.write_text(artifact.model_dump_json(indent=2), encoding="utf-8")
            path.replace(target)
            notes.replace(manifest_of(target))
    return artifact


def _tools(bench: Workbench) -> tuple[str, ...]:
    """The toolchain's packages, as pinned."""
    stamp = bench.toolchain.stamp
    return stamp.packages if stamp else bench.toolchain.spec.requirements
