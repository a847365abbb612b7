"""Whether there is disk enough to take on more work."""

import contextlib
import errno
import shutil
from collections.abc import Iterator

from acp.settings import Settings
from schemas.error import AgentError, ErrorCode


def check_room(settings: Settings) -> None:
    """Make sure that the disk of the runs directory has `min_free_bytes` left.

    Raises:
        AgentError: `disk_full`.
    """
    settings.runs_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.runs_dir).free
    if free < settings.min_free_bytes:
        raise AgentError(
            ErrorCode.DISK_FULL, f"{free} bytes are free under runs_dir, {settings.min_free_bytes} are needed"
        )


@contextlib.contextmanager
def told_when_full() -> Iterator[None]:
    """Let the system's own word for a full disk come out as this agent's.

    Raises:
        AgentError: `disk_full` in place of ENOSPC.
    """
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise AgentError(ErrorCode.DISK_FULL, "the disk of the runs directory is full; make room") from error
