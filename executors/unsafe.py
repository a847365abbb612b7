"""A model's folder in, a refusal out where loading it could run code: read by its bytes, before any loader sees it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from schemas.error import AgentError, ErrorCode

CODE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"})
"""Weights that loaders unpickle. Refused by name as well, because the oldest pickles have no magic."""
PICKLE = b"\x80"
ZIP = b"PK\x03\x04"
"""What `torch.save` writes today: a zip file with a pickle in it."""
MAGIC_BYTES = 9
CONFIG_BYTES = 16 * 1024 * 1024


def could_run_code(magic: bytes) -> bool:
    """Whether a file that begins so is a pickle or an archive of one, whatever it is called."""
    return magic.startswith((PICKLE, ZIP))


def check_folder(folder: Path) -> None:
    """Refuse pickled weights, what only calls itself safetensors, and configurations that name code to run.

    Raises:
        AgentError: `unsafe_model`, naming the file; `unreadable_model` where one cannot be read.
    """
    for path in _files(folder):
        name = path.relative_to(folder)
        try:
            with path.open("rb") as file:
                magic = file.read(MAGIC_BYTES)
            if path.suffix.lower() in CODE_SUFFIXES or could_run_code(magic):
                raise _unsafe(f"{name} may hold pickled weights, which run code when loaded; use safetensors or GGUF")
            if path.suffix.lower() == ".safetensors" and len(magic) < MAGIC_BYTES:
                raise AgentError(ErrorCode.UNREADABLE_MODEL, f"{name} is cut short; put the whole file in its place")
            if path.suffix.lower() == ".safetensors" and magic[8:] != b"{":
                raise _unsafe(f"{name} is not safetensors (it begins with {magic!r}); put the real file in its place")
            # Only configurations: a tokenizer's vocabulary may well have a token of that name.
            if path.suffix.lower() == ".json" and "config" in path.name.lower() and _maps_code(path):
                raise _unsafe(f"{name} has an auto_map, which runs code from the model's folder; remove it")
        except (OSError, ValueError, RecursionError) as error:
            raise AgentError(ErrorCode.UNREADABLE_MODEL, f"{name} cannot be read: {error}"[:300]) from error


def _files(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):  # does not follow links to folders
        yield from (Path(where, name) for name in sorted(names))


def _maps_code(config: Path) -> bool:
    """Whether any object in it has the key, also where a later key of the same name hides it."""
    with config.open("rb") as file:
        raw = file.read(CONFIG_BYTES + 1)
    if len(raw) > CONFIG_BYTES:
        raise ValueError(f"a configuration of more than {CONFIG_BYTES} bytes")
    keys: set[str] = set()
    json.loads(raw, object_pairs_hook=lambda pairs: keys.update(key for key, _ in pairs))
    return "auto_map" in keys


def _unsafe(detail: str) -> AgentError:
    return AgentError(ErrorCode.UNSAFE_MODEL, detail)
