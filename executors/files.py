"""Files: digests, room on disk, names that appear only when the content is whole."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.artifact import FileDigest
from schemas.error import AgentError, ErrorCode

MEGA = 10**6


def digest(path: Path) -> str:
    """The file's sha256, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(path: Path) -> FileDigest:
    """Name, digest and size of a file."""
    return FileDigest(name=path.name, sha256=digest(path), bytes=path.stat().st_size)


def free_room(folder: Path, needed: int, what: str) -> None:
    """Refuse to begin where `folder` has not `needed` bytes free.

    Raises:
        AgentError: `disk_full`, with both numbers.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        detail = f"{what} needs {needed / MEGA:,.0f} MB and {folder} has {free / MEGA:,.0f} MB free"
        raise AgentError(ErrorCode.DISK_FULL, detail)


@contextmanager
def partial(target: Path) -> Iterator[Path]:
    """A name beside `target` to write to, with the same suffix; whatever still has it at the end is deleted.

    Raises:
        AgentError: `tool_failed` where nothing can be written there.
    """
    path = target.with_name(f".partial-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise AgentError(ErrorCode.TOOL_FAILED, f"{target} cannot be written: {error.strerror}") from error
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
