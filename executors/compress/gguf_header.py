"""The header of a GGUF file: bytes in, file type and parameter count out; trusts no length that the file states.

Layout: github.com/ggml-org/ggml, docs/gguf.md (versions 2 and 3, little-endian).
"""

import math
import struct
from pathlib import Path
from typing import BinaryIO

from pydantic import NonNegativeInt, PositiveInt

from schemas.base import Record
from schemas.error import AgentError, ErrorCode

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_ENTRIES = 1_000_000
MAX_STRING = 64 * 1024 * 1024
MAX_DIMENSIONS = 4
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY, UINT32 = 8, 9, 4
FILE_TYPE = b"general.file_type"


class GgufHeader(Record):
    """What compressing needs to know of its source."""

    tensors: PositiveInt
    parameters: PositiveInt
    file_type: NonNegativeInt | None
    """`enum llama_ftype`; absent in some files."""


def read_header(path: Path) -> GgufHeader:
    """The header of `path`.

    Raises:
        AgentError: `unreadable_model` where it is not GGUF, is cut short, or states what cannot be.
    """
    try:
        with path.open("rb") as file:
            return _Reader(file, path.name).header()
    except OSError as error:
        raise AgentError(ErrorCode.UNREADABLE_MODEL, f"{path.name} cannot be read: {error.strerror}") from error


class _Reader:
    """Reads forward through one header."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name

    def header(self) -> GgufHeader:
        magic = self._file.read(len(MAGIC))
        if magic != MAGIC:
            raise self._refuse(f"is not a GGUF file (it begins with {magic!r})")
        if self._scalar("I") not in VERSIONS:
            raise self._refuse("is GGUF of a version this agent does not know")
        tensors, entries = self._count(), self._count()
        file_type = None
        for _ in range(entries):
            key, kind = self._string(), self._scalar("I")
            if key == FILE_TYPE and kind == UINT32:
                file_type = self._scalar("I")
            else:
                self._skip(kind)
        parameters = sum(self._tensor() for _ in range(tensors))
        if not parameters:
            raise self._refuse("holds no weights")
        return GgufHeader(tensors=tensors, parameters=parameters, file_type=file_type)

    def _tensor(self) -> int:
        """Past one tensor's entry; its number of elements."""
        self._string()
        dimensions = self._scalar("I")
        if dimensions > MAX_DIMENSIONS:
            raise self._refuse(f"describes a tensor of {dimensions} dimensions")
        elements = math.prod(self._scalar("Q") for _ in range(dimensions))
        self._take(struct.calcsize("<IQ"))  # its type and where its data begin
        return elements

    def _skip(self, kind: int) -> None:
        if kind == STRING:
            self._string()
        elif kind == ARRAY:
            inner, count = self._scalar("I"), self._scalar("Q")
            if inner == STRING:
                for _ in range(self._bounded(count)):
                    self._string()
            else:
                self._take(self._bounded(count) * self._size(inner))
        else:
            self._take(self._size(kind))

    def _size(self, kind: int) -> int:
        if kind not in SCALARS:
            raise self._refuse(f"has a value of unknown type {kind}")
        return struct.calcsize("<" + SCALARS[kind])

    def _count(self) -> int:
        return self._bounded(self._scalar("Q"))

    def _bounded(self, count: int) -> int:
        if count > MAX_ENTRIES:
            raise self._refuse(f"claims {count} entries")
        return count

    def _scalar(self, code: str) -> int:
        (value,) = struct.unpack("<" + code, self._take(struct.calcsize("<" + code)))
        return int(value)

    def _string(self) -> bytes:
        return self._take(self._scalar("Q"))

    def _take(self, size: int) -> bytes:
        if size > MAX_STRING:
            raise self._refuse(f"claims a value of {size} bytes")
        data = self._file.read(size)
        if len(data) != size:
            raise self._refuse("is cut short within its header")
        return data

    def _refuse(self, what: str) -> AgentError:
        return AgentError(ErrorCode.UNREADABLE_MODEL, f"{self._name} {what}; put a whole GGUF file in its place")
