"""The gateway's log in, requests as they were served out; it can be followed across rotations and restarts."""

from collections.abc import Sequence
from pathlib import Path

import orjson
from pydantic import ValidationError

from executors.measure.statistics import percentiles
from schemas.deployment import Service
from schemas.traffic import RequestSeen

ABSENT = "-"
"""How HAProxy writes what was not there."""


class LogReader:
    """One reader of a supervised program's log, which remembers how far it has read. It holds no file open."""

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        """`from_end` skips what is there already."""
        self._path = path
        self._inode, self._at, self._rest = 0, 0, b""
        if from_end and path.exists():
            found = path.stat()
            self._inode, self._at = found.st_ino, found.st_size

    def lines(self) -> list[bytes]:
        """Whole lines that were written since the last call, across a rotation."""
        found: list[bytes] = []
        inode = _inode(self._path)
        if inode != self._inode:
            moved = rotated(self._path)
            if self._inode and _inode(moved) == self._inode:  # it still holds what was written after the last call
                found = self._read(moved)
            self._inode, self._at, self._rest = inode, 0, b""
        return found + self._read(self._path) if inode else found

    def _read(self, path: Path) -> list[bytes]:
        with path.open("rb") as file:
            file.seek(self._at)
            text = file.read()
        self._at += len(text)
        *lines, self._rest = (self._rest + text).split(b"\n")
        return lines


class RequestLog:
    """One reader of the gateway's log."""

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        """`from_end` skips what is there already."""
        self._log = LogReader(path, from_end=from_end)

    def new(self) -> list[RequestSeen]:
        """Requests that were finished since the last call, in the order in which they were."""
        return [row for line in self._log.lines() if (row := _row(line))]


def rotated(path: Path) -> Path:
    """Where the supervisor moves a log that has grown too large."""
    return path.with_name(path.name + ".1")


def since(path: Path, at_s: float) -> list[RequestSeen]:
    """Every request that came at `at_s` (seconds since 1970) or later and is finished, oldest file first."""
    files = [rotated(path), path]
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


def _inode(path: Path) -> int:
    """Which file is there; 0 where there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


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
