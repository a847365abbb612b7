"""Whether there is disk enough to take on more work."""

import shutil

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
