"""Child processes: an argument list in, a process group out that is ended whatever happens to this one.

Every child runs under `workers/guard.py` in a session of its own, with an allow-listed environment and limits; the
guard ends the whole group when the agent dies, `Child.end` when it does not.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from schemas.error import AgentError, ErrorCode

GUARD = Path(__file__).parent / "workers" / "guard.py"
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
TAIL_LINES = 20
LINE_LIMIT = 16 * 1024 * 1024
GRACE_S = 5.0
"""Between being asked to end and being killed."""


@dataclass(frozen=True)
class Limits:
    """What one child may use, sizes in bytes; 0 is no limit."""

    memory: int = 0
    file_size: int = 0
    niceness: int = 0
    """How far it stands back for other processes: 0 to 19."""


NO_LIMITS = Limits()


class Child:
    """A running program. Use as an async context manager: leaving it ends the process group.

    Standard error goes to `log`; standard output too, unless it is read with `lines`.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        limits: Limits = NO_LIMITS,
        read_output: bool = False,
    ) -> None:
        self.argv = tuple(argv)
        self.log = log
        self._env = {name: os.environ[name] for name in INHERITED if name in os.environ} | dict(env or {})
        self._cwd = cwd
        self._limits = limits
        self._read_output = read_output
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end()

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The guard's process; its pid is the group's."""
        if self._process is None:
            raise RuntimeError("the child was not started")
        return self._process

    @property
    def returncode(self) -> int | None:
        """The program's exit status, None while it runs."""
        return self.process.returncode

    async def start(self, stdin: bytes = b"") -> None:
        """Start the program and give it `stdin`.

        Raises:
            AgentError: `tool_failed` where it cannot be started.
        """
        guard = [sys.executable, "-I", "-S", str(GUARD), str(os.getpid())]
        limits = [str(it) for it in (self._limits.memory, self._limits.file_size, self._limits.niceness)]
        with self.log.open("ab") as log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *guard,
                    *limits,
                    *self.argv,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE if self._read_output else log,
                    stderr=log,
                    env=self._env,
                    cwd=self._cwd,
                    start_new_session=True,
                    limit=LINE_LIMIT,
                )
            except OSError as error:
                raise AgentError(ErrorCode.TOOL_FAILED, f"{self.argv[0]} cannot be started: {error}") from error
        pipe = self.process.stdin
        if pipe is not None:
            with contextlib.suppress(ConnectionError):  # a program that reads no input may have closed it
                pipe.write(stdin)
                await pipe.drain()
            pipe.close()

    async def lines(self) -> AsyncIterator[bytes]:
        """The program's standard output, line by line, until it closes it."""
        stream = self.process.stdout
        if stream is None:
            raise RuntimeError("the child's output is not read")
        async for line in stream:
            yield line.rstrip(b"\n")

    async def wait(self) -> int:
        """The exit status, once the program has ended."""
        return await self.process.wait()

    async def end(self, grace_s: float = GRACE_S) -> None:
        """End the whole group: SIGTERM, then SIGKILL after `grace_s` seconds or when cancelled. Safe to call again."""
        if self._process is None:
            return
        try:
            if self._process.returncode is None:
                self._signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(grace_s):
                        await self._process.wait()
        finally:
            self._signal(signal.SIGKILL)
        await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def tail(self) -> str:
        """The last lines of the log, for an error a person can act on."""
        with self.log.open(errors="replace") as log:
            return "".join(deque(log, TAIL_LINES)).strip()
