"""Runs one program under limits and ends its whole process group when the agent dies; standard library only.

Called as `guard.py PARENT_PID MEMORY_BYTES FILE_BYTES NICENESS PROGRAM [ARG ...]` in a session of its own; 0 means no
limit. Exits with the program's exit status, 128 + n where signal n ended it.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(signal_number: int) -> None:
    """Ask Linux for a signal when the parent dies; elsewhere the agent's own clean-up must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal_number)


def end_group(*_: object) -> None:
    """End every process of this group, this one included."""
    os.killpg(0, signal.SIGKILL)


def main() -> int:
    """Start the program, wait for it, pass its exit status on."""
    parent, memory, file_size, niceness = (int(argument) for argument in sys.argv[1:5])
    signal.signal(signal.SIGHUP, end_group)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(signal.SIGHUP)
    if os.getppid() != parent:
        end_group()

    def prepare() -> None:
        die_with_parent(signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.nice(niceness)
        for kind, limit in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, file_size)):
            if limit:
                resource.setrlimit(kind, (limit, limit))

    status = subprocess.Popen(sys.argv[5:], preexec_fn=prepare).wait()  # noqa: S603, PLW1509 - one thread, argv list
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
