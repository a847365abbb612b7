"""Updates in, progress on the terminal out: one line each with the time, and a bar where the output is a terminal."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from schemas.status import InferenceStatus
from schemas.text import plain


class Board:
    """Shows what a job says. Use as a context manager."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self._start = time.monotonic()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=1.0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def note(self, what: str) -> None:
        """One line of progress."""
        elapsed = time.monotonic() - self._start
        self.console.print(f"[dim]{elapsed:6.1f} s[/dim]  ", end="", highlight=False)
        self.console.print(plain(what, 400), markup=False, highlight=False, soft_wrap=True)

    def doing(self, what: str, share: float | None = None) -> None:
        """What the bar says, without a line of its own."""
        self._bar.update(self._task, description=plain(what, 60), completed=share)

    def update(self, status: InferenceStatus) -> None:
        """One update of a job."""
        phase = f"{status.phase.value:12} " if status.phase else ""
        self.note(f"{phase}{status.optimization}: {status.detail or status.state.value}")
        self.doing(status.detail or status.state.value, status.progress)
