"""The gateway's log in, requests as they were served out; it can be followed across rotations and restarts."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import orjson
from pydantic import ValidationError

from executors.measure.statistics import percentiles
from schemas.deployment import RequestSeen, Service

ABSENT = "-"
"""How HAProxy writes what was not there."""


class RequestLog:
    """One reader of the log, which remembers how far it has read."""

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        """`from_end` skips what is there already."""
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""
        if from_end and path.exists():
            self._open().seek(0, 2)

    def new(self) -> list[RequestSeen]:
        """Requests that were finished since the last call, in the order in which they were."""
        found = list(self._read())
        if self._file is not None and not self._same():  # it was moved away: what it still held has been read
            self.close()
            found += self._read()
        return found

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file, self._rest = None, b""

    def _read(self) -> Iterator[RequestSeen]:
        try:
            text = self._rest + (self._file or self._open()).read()
        except FileNotFoundError:
            return
        *lines, self._rest = text.split(b"\n")
        yield from filter(None, map(_row, lines))

    def _open(self) -> BinaryIO:
        self._file = self._path.open("rb")
        return self._file

    def _same(self) -> bool:
        try:
            return self._file is not None and self._path.stat().st_ino == os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:
            return False


def since(path: Path, at_s: float) -> list[RequestSeen]:
    """Every request that came at `at_s` (seconds since 1970) or later and is finished, oldest file first."""
    files = [path.with_name(path.name + ".1"), path]
    return [row for file in files if file.exists() for row in RequestLog(file).new() if row.at_s >= at_s]


def service(rows: Sequence[RequestSeen], release: str) -> Service:
    """What one release did, of its own rows."""
    served = [row.total_ms for row in rows if not row.failed]
    return Service(
        release=release,
        requests=len(rows),
        failed=sum(row.failed for row in rows),
        latency=percentiles(served, "gateway's log"),
    )


def _row(line: bytes) -> RequestSeen | None:
    """The request that a line tells of; None for what else HAProxy says."""
    if not line.startswith(b"{"):
        return None
    try:
        found = orjson.loads(line)
        blanks = {key: "" for key in ("sender", "prompt") if found.get(key) == ABSENT}
        return RequestSeen.model_validate(found | blanks)
    except (orjson.JSONDecodeError, ValidationError):  # a line that was cut off when the gateway was killed
        return None
