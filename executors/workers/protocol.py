"""How a worker talks: one JSON request on standard input, JSON lines on standard output; standard library only.

Lines are `{"event":"progress","done":…,"total":…,"detail":…}`, `{"event":"error","code":…,"detail":…}`, and the
worker's own results. Whatever else a tool prints goes to standard error, which the parent keeps as the log.
"""

import errno
import json
import os
import resource
import sys
from collections.abc import Callable

DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class WorkerError(Exception):
    """A failure with a slug of the agent's error table and one sentence for a person."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


OUT = os.dup(1)
"""A private copy of standard output, taken when this module is imported: some tools print while they are imported."""
os.dup2(2, 1)


class Channel:
    """The line to the parent, which a tool's prints cannot break."""

    def __init__(self) -> None:
        self._out = os.fdopen(OUT, "w", encoding="utf-8")

    def send(self, event: str, **fields: object) -> None:
        """Write one line. A parent that has gone shows as BrokenPipeError."""
        self._out.write(json.dumps({"event": event, **fields}) + "\n")
        self._out.flush()

    def progress(self, done: int, total: int, detail: str) -> None:
        """How far the work is, in the unit that `detail` names."""
        self.send("progress", done=done, total=total, detail=detail)


def peak_bytes() -> int:
    """The most memory that this process has held, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def serve(handle: Callable[[dict[str, object], Channel], None]) -> int:
    """Read the request, let `handle` answer it, say what went wrong where it did; the process's exit status."""
    channel = Channel()
    try:
        handle(json.load(sys.stdin), channel)
    except BrokenPipeError:
        return 0  # the parent has what it wanted
    except WorkerError as error:
        channel.send("error", code=error.code, detail=error.detail)
        return 1
    except MemoryError:
        channel.send("error", code="out_of_memory", detail="there is not enough memory for this step")
        return 1
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        channel.send("error", code="disk_full", detail=f"a file could not be written: {error.strerror}")
        return 1
    return 0
