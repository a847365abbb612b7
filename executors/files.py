"""Files: digests, room on disk, names that appear only when the content is whole."""

import asyncio
import fcntl
import hashlib
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psutil

from schemas.artifact import FileDigest
from schemas.error import AgentError, ErrorCode

MEGA = 10**6
LOCK_POLL_S = 0.2


def digest(path: Path) -> str:
    """The file's sha256, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(path: Path) -> FileDigest:
    """Name, digest and size of a file."""
    return FileDigest(name=path.name, sha256=digest(path), bytes=path.stat().st_size)


def describe_folder(folder: Path) -> tuple[FileDigest, tuple[FileDigest, ...]]:
    """A folder as one, and each of its files by its path within."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = tuple(describe(path).model_copy(update={"name": str(path.relative_to(folder))}) for path in paths)
    whole = hashlib.sha256("".join(f"{file.sha256}  {file.name}\n" for file in files).encode()).hexdigest()
    return FileDigest(name=folder.name, sha256=whole, bytes=sum(file.bytes for file in files)), files


def free_memory(needed: int, what: str) -> None:
    """Refuse to begin where `needed` bytes of memory are not free.

    Raises:
        AgentError: `out_of_memory`, with both numbers.
    """
    free = psutil.virtual_memory().available
    if free < needed:
        detail = (
            f"{what} needs {needed / MEGA:,.0f} MB of memory and {free / MEGA:,.0f} MB are free; use a larger machine"
        )
        raise AgentError(ErrorCode.OUT_OF_MEMORY, detail)


def free_room(folder: Path, needed: int, what: str) -> None:
    """Refuse to begin where `folder` has not `needed` bytes free.

    Raises:
        AgentError: `disk_full`, with both numbers.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        detail = f"{what} needs {needed / MEGA:,.0f} MB and {folder} has {free / MEGA:,.0f} MB free"
        raise AgentError(ErrorCode.DISK_FULL, detail)


def write_whole(path: Path, text: str) -> None:
    """Write `text` under a partial name, then give it its own: a reader finds all of it or what was there before."""
    with partial(path) as draft:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)


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


@contextmanager
def partial_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside `target` to fill; whatever still has its name at the end is deleted.

    Raises:
        AgentError: `tool_failed` where nothing can be written there.
    """
    path = target.with_name(f".partial-{target.name}")
    try:
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    except OSError as error:
        raise AgentError(ErrorCode.TOOL_FAILED, f"{target} cannot be written: {error.strerror}") from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@asynccontextmanager
async def locked(path: Path, on_wait: Callable[[], None]) -> AsyncIterator[None]:
    """Hold an exclusive lock on `path`; `on_wait` is called once where it must wait.

    The system frees the lock should this process die.
    """
    with path.open("w") as file:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    on_wait()
                    told = True
                await asyncio.sleep(LOCK_POLL_S)
        yield
