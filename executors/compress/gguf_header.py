"""The header of a GGUF file: its record out, of metadata and tensors; trusts no length that the file states.

Layout: github.com/ggml-org/ggml, docs/gguf.md (versions 2 and 3, little-endian).
"""

import math
import struct
from pathlib import Path
from typing import BinaryIO

from schemas.error import AgentError, ErrorCode
from schemas.gguf import OUTPUT, GgufHeader, Value

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_ENTRIES = 1_000_000
MAX_STRING = 64 * 1024 * 1024
MAX_DIMENSIONS = 4
MAX_TEXT = 256
MAX_LAYERS = 1024
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
FLOATS = frozenset("fd")


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
        if self._whole("I") not in VERSIONS:
            raise self._refuse("is GGUF of a version this agent does not know")
        tensors, entries = self._count(), self._count()
        metadata = dict(self._entry() for _ in range(entries))
        sizes = [self._tensor() for _ in range(tensors)]
        parameters = sum(elements for _, elements in sizes)
        if not parameters:
            raise self._refuse("holds no weights")
        has_output = any(name == OUTPUT for name, _ in sizes)
        return GgufHeader(tensors=tensors, parameters=parameters, metadata=metadata, has_output=has_output)

    def _entry(self) -> tuple[str, Value]:
        """A key and its value."""
        return self._text(), self._value(self._whole("I"))

    def _tensor(self) -> tuple[str, int]:
        """One tensor's name and its number of elements."""
        name, dimensions = self._text(), self._whole("I")
        if dimensions > MAX_DIMENSIONS:
            raise self._refuse(f"describes a tensor of {dimensions} dimensions")
        elements = math.prod(self._whole("Q") for _ in range(dimensions))
        self._take(struct.calcsize("<IQ"))  # its type and where its data begin
        return name, elements

    def _value(self, kind: int) -> Value:
        if kind == STRING:
            return self._text()
        if kind != ARRAY:
            return self._scalar(self._code(kind))
        inner, count = self._whole("I"), self._count()
        if inner == STRING:
            for _ in range(count):
                self._string()
            return count
        code = self._code(inner)
        data = self._take(count * struct.calcsize("<" + code))
        if code not in FLOATS and count <= MAX_LAYERS:
            return tuple(int(value) for value in struct.unpack(f"<{count}{code}", data))
        return count

    def _code(self, kind: int) -> str:
        if kind not in SCALARS:
            raise self._refuse(f"has a value of unknown type {kind}")
        return SCALARS[kind]

    def _count(self) -> int:
        count = self._whole("Q")
        if count > MAX_ENTRIES:
            raise self._refuse(f"claims {count} entries")
        return count

    def _whole(self, code: str) -> int:
        return int(self._scalar(code))

    def _scalar(self, code: str) -> int | float | bool:
        (value,) = struct.unpack("<" + code, self._take(struct.calcsize("<" + code)))
        return value  # type: ignore[no-any-return]  # the codes above are of numbers and truth values alone

    def _text(self) -> str:
        """Text as far as anyone needs it: names and choices, not templates."""
        return self._string()[:MAX_TEXT].decode("utf-8", "replace")

    def _string(self) -> bytes:
        return self._take(self._whole("Q"))

    def _take(self, size: int) -> bytes:
        if size > MAX_STRING:
            raise self._refuse(f"claims a value of {size} bytes")
        data = self._file.read(size)
        if len(data) != size:
            raise self._refuse("is cut short within its header")
        return data

    def _refuse(self, what: str) -> AgentError:
        return AgentError(ErrorCode.UNREADABLE_MODEL, f"{self._name} {what}; put a whole GGUF file in its place")
