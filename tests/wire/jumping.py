"""Runs a script in a process whose wall clock jumps by an hour: forward on SIGUSR1, back on SIGUSR2.

Usage: python jumping.py PYTHON SCRIPT [ARGUMENTS]. Patched before all other imports; the monotonic clock goes on.
"""

import datetime as dt
import runpy
import signal
import sys
import time
from typing import Self

HOUR_S = 3600
SHIFT = [0]
_time = time.time


class Jumping(dt.datetime):
    """The date and time that this process believes in."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Self:
        """The present moment, shifted."""
        return super().now(tz) + dt.timedelta(seconds=SHIFT[0])


def jump(number: int, _: object) -> None:
    """Shift the clock."""
    SHIFT[0] += HOUR_S if number == signal.SIGUSR1 else -HOUR_S


if __name__ == "__main__":
    time.time = lambda: _time() + SHIFT[0]
    time.time_ns = lambda: int(time.time() * 1e9)
    dt.datetime = Jumping  # type: ignore[misc]
    signal.signal(signal.SIGUSR1, jump)
    signal.signal(signal.SIGUSR2, jump)
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
