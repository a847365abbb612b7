"""Becomes a program that reads a file as its standard input, under a limit of memory; standard library only.

Called as `fed.py FILE MEMORY_BYTES NICENESS PROGRAM [ARG ...]`; 0 means no limit. For supervisors, which give their
programs no input of their own.
"""

import os
import resource
import sys


def main() -> None:
    """Open, limit, become."""
    file, memory, niceness, *argv = sys.argv[1:]
    # The supervisor's end of the pipe that was its input stays open: supervisord 4 polls a broken one without a pause.
    os.set_inheritable(os.dup(0), True)  # noqa: FBT003 - its only form
    descriptor = os.open(file, os.O_RDONLY)
    os.dup2(descriptor, 0)
    os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if int(memory):
        resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    os.nice(int(niceness))
    os.execv(argv[0], argv)  # noqa: S606 - an argument list of the agent's own


if __name__ == "__main__":
    main()
