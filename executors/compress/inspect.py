"""What a model folder is before any tool opens it: a folder in, facts out; refuses what could run code or is not sound.

Nothing here loads weights into a tool: JSON and safetensors headers are read, and the numbers looked through once.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, NonNegativeInt, PositiveInt, ValidationError

from executors.compress.safetensors_header import Tensor, read_folder
from executors.unsafe import check_folder
from schemas.error import AgentError, ErrorCode, first_error

CODE = frozenset({".py", ".so", ".pyc"})
MAX_JSON = 64 * 1024 * 1024
LAYER = re.compile(r"\.(?:layers|h|blocks)\.(\d+)\.")
EMBEDDING = re.compile(r"(?:embed_tokens|wte|embed_in|tok_embeddings)\.weight$")
PROJECTION = re.compile(r"\.layers\.\d+\.(?:self_attn|mlp)\.(\w+)\.weight$")
FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
SCAN = 16 * 1024 * 1024
"""Numbers looked through at a time."""
GROUPS = (128, 64, 32)


class _Config(BaseModel):
    """Of `config.json`, what the weights can be held against."""

    hidden_size: PositiveInt
    vocab_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    num_key_value_heads: PositiveInt | None = None
    head_dim: PositiveInt | None = None
    intermediate_size: PositiveInt | None = None


class _Vocabulary(BaseModel):
    vocab: dict[str, NonNegativeInt] | list[object]


class _Token(BaseModel):
    id: NonNegativeInt


class _Tokenizer(BaseModel):
    """Of `tokenizer.json`, what the vocabulary can be held against."""

    model: _Vocabulary
    added_tokens: tuple[_Token, ...] = ()


class ModelFolder(NamedTuple):
    """A folder that was looked through: numbers in its weights, layers, the widest quantization group that fits all."""

    parameters: int
    layers: int
    group_size: int
    source_format: str


def inspect(folder: Path) -> ModelFolder:
    """Look a folder of safetensors through, weights included.

    Raises:
        AgentError: `unsafe_model` for pickles, code and `auto_map`; `unreadable_model` for files that are cut short, a
            configuration that does not fit the weights, weights that are not numbers, a tokenizer that does not match;
            `unsupported` for a model that is already quantized.
    """
    if not folder.is_dir():
        raise AgentError(ErrorCode.UNREADABLE_MODEL, f"{folder.name} is not a folder; name a folder of safetensors")
    _refuse_code(folder)
    raw = _json(folder / "config.json")
    if "quantization_config" in raw:
        detail = f"{folder.name} is already quantized; start from the weights it was made of"
        raise AgentError(ErrorCode.UNSUPPORTED, detail)
    try:
        config = _Config.model_validate(raw)
    except ValidationError as error:
        raise _lie(folder, f"config.json is not usable ({first_error(error)})") from error
    tensors = read_folder(folder)
    _check_shapes(folder, config, tensors)
    _check_tokenizer(folder, config.vocab_size)
    for name, tensor in tensors.items():
        _check_numbers(name, tensor)
    widths = {tensor.shape[1] for name, tensor in tensors.items() if PROJECTION.search(name)}
    return ModelFolder(
        parameters=sum(tensor.elements for tensor in tensors.values()),
        layers=config.num_hidden_layers,
        group_size=next((size for size in GROUPS if all(width % size == 0 for width in widths)), 0),
        source_format=max(tensors.values(), key=lambda tensor: tensor.elements).dtype,
    )


def _refuse_code(folder: Path) -> None:
    """Pickles, code, configurations that name code, and links that lead out."""
    check_folder(folder)
    for path in sorted(folder.rglob("*")):
        if path.suffix in CODE:
            raise _unsafe(f"{path.name} is code, and a model may bring none; remove it")
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise _unsafe(f"{path.name} leads out of the model's folder; put the file itself there")


def _check_shapes(folder: Path, config: _Config, tensors: Mapping[str, Tensor]) -> None:
    """Hold the configuration against the weights that there are."""
    layers = {int(found[1]) for name in tensors if (found := LAYER.search(name))}
    if len(layers) != config.num_hidden_layers or max(layers, default=-1) != len(layers) - 1:
        raise _lie(folder, f"config.json says {config.num_hidden_layers} layers and the weights have {len(layers)}")
    head = config.head_dim or config.hidden_size // config.num_attention_heads
    queries, keys = config.num_attention_heads * head, (config.num_key_value_heads or config.num_attention_heads) * head
    inner, outer = config.intermediate_size, config.hidden_size
    expected: dict[str, tuple[int | None, int | None]] = {
        "q_proj": (queries, outer),
        "k_proj": (keys, outer),
        "v_proj": (keys, outer),
        "o_proj": (outer, queries),
        "gate_proj": (inner, outer),
        "up_proj": (inner, outer),
        "down_proj": (outer, inner),
    }
    for name, tensor in tensors.items():
        wanted: tuple[int | None, int | None] | None = None
        if EMBEDDING.search(name):
            wanted = (config.vocab_size, outer)
        elif found := PROJECTION.search(name):
            wanted = expected.get(found[1])
        if wanted and None not in wanted and tensor.shape != wanted:
            raise _lie(folder, f"config.json says {wanted} for {name} and the weights have {tensor.shape}")


def _check_tokenizer(folder: Path, vocabulary: int) -> None:
    try:
        tokenizer = _Tokenizer.model_validate(_json(folder / "tokenizer.json"))
    except ValidationError as error:
        raise _lie(folder, f"tokenizer.json is not usable ({first_error(error)})") from error
    known = tokenizer.model.vocab
    ids = known.values() if isinstance(known, dict) else range(len(known))
    highest = max([*ids, *(token.id for token in tokenizer.added_tokens)], default=-1)
    if highest >= vocabulary:
        detail = f"the tokenizer has token {highest} and the model only {vocabulary}: they do not match"
        raise _lie(folder, detail)


def _check_numbers(name: str, tensor: Tensor) -> None:
    """Refuse NaN and infinity."""
    if not tensor.elements:
        return
    if tensor.dtype == "BF16":  # numpy has no bfloat16: all ones in the exponent are what is not a number
        raw = np.memmap(tensor.file, np.dtype("<u2"), "r", tensor.begin, (tensor.elements,))
        sound = all(np.all(raw[at : at + SCAN] & 0x7F80 != 0x7F80) for at in range(0, tensor.elements, SCAN))  # noqa: PLR2004
    elif tensor.dtype in FLOATS:
        values = np.memmap(tensor.file, np.dtype(FLOATS[tensor.dtype]), "r", tensor.begin, (tensor.elements,))
        sound = all(bool(np.isfinite(values[at : at + SCAN]).all()) for at in range(0, tensor.elements, SCAN))
    else:
        return
    if not sound:
        detail = f"{name} in {tensor.file.name} holds values that are not numbers; the weights are damaged"
        raise AgentError(ErrorCode.UNREADABLE_MODEL, detail)


def _json(path: Path) -> dict[str, object]:
    """One JSON object of a model's folder."""
    try:
        if path.stat().st_size > MAX_JSON:
            raise AgentError(ErrorCode.UNREADABLE_MODEL, f"{path.name} is larger than {MAX_JSON} bytes")
        found = json.loads(path.read_bytes())
    except OSError as error:
        detail = f"{path.parent.name} has no readable {path.name}; put it beside the weights"
        raise AgentError(ErrorCode.UNREADABLE_MODEL, detail) from error
    except (ValueError, RecursionError) as error:
        raise AgentError(
            ErrorCode.UNREADABLE_MODEL, f"{path.name} is not JSON; put a whole file in its place"
        ) from error
    if not isinstance(found, dict):
        raise AgentError(ErrorCode.UNREADABLE_MODEL, f"{path.name} is not a JSON object; put a whole file in its place")
    return found


def _unsafe(detail: str) -> AgentError:
    return AgentError(ErrorCode.UNSAFE_MODEL, detail)


def _lie(folder: Path, what: str) -> AgentError:
    return AgentError(ErrorCode.UNREADABLE_MODEL, f"{folder.name}: {what}; put the files of one model together")
