"""Models on disk: a name in, a file or folder under a configured root out; no path is ever built from a message."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from executors.unsafe import CONFIG_BYTES, check_folder, could_run_code
from schemas.error import AgentError, ErrorCode

GGUF_MAGIC = b"GGUF"
CONFIG = "config.json"
HEADER_BYTES = 16 * 1024 * 1024
"""Enough for the metadata of any tokenizer; weights follow after it."""
QUANT_SUFFIX = re.compile(r"[-.](i?q\d\w*|f16|bf16|f32|fp16)$", re.IGNORECASE)
READ_BYTES = 4


def locate(name: str, roots: Sequence[Path]) -> Path | None:
    """The GGUF file that goes by `name` (its file name, with or without quantization suffix) under one of `roots`.

    A folder of that name is looked through first: where loading it could run code, nothing of that name is used.

    Raises:
        AgentError: `unsafe_model`; `unreadable_model` where the file found is not GGUF or cannot be read.
    """
    wanted = _key(name)
    for folder in _folders(roots):
        if wanted and _key(folder.name) == wanted:
            check_folder(folder)
    for path in _files(roots):
        stem = path.name.removesuffix(".gguf")
        if wanted in {_key(stem), _key(QUANT_SUFFIX.sub("", stem))}:
            _check(path)
            return path
    return None


def locate_folder(name: str, roots: Sequence[Path]) -> Path | None:
    """The folder with a config.json that goes by `name` under one of `roots`.

    Raises:
        AgentError: `unsafe_model` where loading it could run code, `unreadable_model`.
    """
    wanted = _key(name)
    for folder in _folders(roots):
        if wanted and _key(folder.name) == wanted and (folder / CONFIG).is_file():
            check_folder(folder)
            return folder
    return None


def names(roots: Sequence[Path]) -> tuple[str, ...]:
    """What the models under `roots` are called."""
    files = {QUANT_SUFFIX.sub("", path.name.removesuffix(".gguf")) for path in _files(roots)}
    folders = {path.name for path in _folders(roots) if (path / CONFIG).is_file()}
    return tuple(sorted(files | folders))


def config(folder: Path) -> dict[str, object]:
    """What a model's folder says of itself.

    Raises:
        AgentError: `unreadable_model` where its config.json is no JSON object.
    """
    with (folder / CONFIG).open("rb") as file:
        raw = file.read(CONFIG_BYTES)
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise AgentError(ErrorCode.UNREADABLE_MODEL, f"{CONFIG} of {folder.name} is not JSON") from error
    if not isinstance(found, dict):
        raise AgentError(ErrorCode.UNREADABLE_MODEL, f"{CONFIG} of {folder.name} is no JSON object")
    return found


def header(path: Path) -> bytes:
    """The first bytes of a model file, its metadata among them; of a folder, its configuration."""
    if path.is_dir():
        return (path / CONFIG).read_bytes()[:HEADER_BYTES]
    with path.open("rb") as file:
        return file.read(HEADER_BYTES)


def fingerprint(path: Path) -> str:
    """What tells one model from another without reading all of it: its beginning and its size."""
    size = sum(file.stat().st_size for file in path.glob("*.safetensors")) if path.is_dir() else path.stat().st_size
    return hashlib.sha256(header(path) + str(size).encode()).hexdigest()[:16]


def _key(name: str) -> str:
    """Letters and digits only, so that `SmolLM2 135M` and `smollm2-135m` are one name; an organisation is dropped."""
    return re.sub(r"[^a-z0-9]", "", name.rsplit("/", 1)[-1].casefold())


def _folders(roots: Sequence[Path]) -> Iterator[Path]:
    """Folders in the roots."""
    for root in roots:
        real = root.resolve()
        for path in sorted(root.glob("*/")):
            if path.resolve().is_relative_to(real):
                yield path


def _files(roots: Sequence[Path]) -> Iterator[Path]:
    """GGUF files in the roots and one folder below; links that lead out of their root do not count."""
    for root in roots:
        real = root.resolve()
        for path in sorted((*root.glob("*.gguf"), *root.glob("*/*.gguf"))):
            if path.resolve().is_relative_to(real):
                yield path


def _check(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(READ_BYTES)
    except OSError as error:
        raise AgentError(ErrorCode.UNREADABLE_MODEL, f"{path.name} cannot be read: {error.strerror}") from error
    if could_run_code(magic):
        detail = f"{path.name} is a pickle or an archive, which can run code; put a GGUF file in its place"
        raise AgentError(ErrorCode.UNSAFE_MODEL, detail)
    if magic != GGUF_MAGIC:
        detail = f"{path.name} is not a GGUF file (it begins with {magic!r}); put a GGUF file in its place"
        raise AgentError(ErrorCode.UNREADABLE_MODEL, detail)
