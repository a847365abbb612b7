"""The headers of a folder's safetensors files: bytes in, tensors out; trusts no length or offset that a file states.

Layout: huggingface.co/docs/safetensors (eight bytes of length, little-endian, a JSON header, then the data).
"""

import json
import math
import struct
from pathlib import Path
from typing import NamedTuple

from pydantic import NonNegativeInt, TypeAdapter, ValidationError

from schemas.base import Record
from schemas.error import AgentError, ErrorCode

LENGTH_BYTES = 8
MAX_HEADER = 100 * 10**6
"""The limit that the reference implementation has."""
PICKLE_MAGICS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")
"""A bare pickle, and the zip that torch.save writes around one."""
WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
WIDTHS |= {"F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "U32": 4, "U64": 8}


class _Entry(Record):
    dtype: str
    shape: tuple[NonNegativeInt, ...]
    data_offsets: tuple[NonNegativeInt, NonNegativeInt]


_ENTRIES = TypeAdapter(dict[str, _Entry])


class Tensor(NamedTuple):
    """Where one tensor lies: `begin` counts from the start of `file`, in bytes."""

    dtype: str
    shape: tuple[int, ...]
    file: Path
    begin: int
    end: int

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def read_folder(folder: Path) -> dict[str, Tensor]:
    """The tensors of every safetensors file in `folder`, by name.

    Raises:
        AgentError: `unreadable_model` where there is none, one is cut short or states what cannot be; `unsafe_model`
            where a file only calls itself safetensors and is a pickle.
    """
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found = read_file(path)
        if twice := tensors.keys() & found.keys():
            raise _refuse(path, f"holds {min(twice)}, which another file of the model holds too")
        tensors |= found
    if not tensors:
        detail = f"{folder.name} holds no safetensors weights; convert the model to safetensors first"
        raise AgentError(ErrorCode.UNREADABLE_MODEL, detail)
    return tensors


def read_file(path: Path) -> dict[str, Tensor]:
    """The tensors of one file; errors as `read_folder`."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(LENGTH_BYTES)
            if start.startswith(PICKLE_MAGICS):
                detail = f"{path.name} is a pickle, which could run code; save the model as safetensors"
                raise AgentError(ErrorCode.UNSAFE_MODEL, detail)
            length = struct.unpack("<Q", start)[0] if len(start) == LENGTH_BYTES else 0
            if not 0 < length <= min(MAX_HEADER, size - LENGTH_BYTES):
                raise _refuse(path, "is not safetensors or is cut short within its header")
            raw = file.read(length)
    except OSError as error:
        raise _refuse(path, f"cannot be read: {error.strerror}") from error
    return _tensors(path, raw, LENGTH_BYTES + length, size)


def _tensors(path: Path, raw: bytes, data: int, size: int) -> dict[str, Tensor]:
    """Every entry, checked against the file's true size."""
    try:
        table = json.loads(raw)
        table.pop("__metadata__", None)
        entries = _ENTRIES.validate_python(table)
    except (ValueError, AttributeError, RecursionError, ValidationError) as error:
        raise _refuse(path, "has a header that is not what safetensors writes") from error
    tensors = {}
    for name, entry in entries.items():
        begin, end = entry.data_offsets
        tensor = Tensor(entry.dtype, entry.shape, path, data + begin, data + end)
        if entry.dtype not in WIDTHS or end - begin != tensor.elements * WIDTHS[entry.dtype]:
            raise _refuse(path, f"states a shape of {name} that does not fit its data")
        if tensor.end > size:
            raise _refuse(path, f"is cut short: {name} ends after the file does")
        tensors[name] = tensor
    return tensors


def _refuse(path: Path, what: str) -> AgentError:
    return AgentError(ErrorCode.UNREADABLE_MODEL, f"{path.name} {what}; put a whole safetensors file in its place")
