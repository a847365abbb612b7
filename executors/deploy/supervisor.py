"""Programs that outlive this process: kept up by supervisord, one for each deployment, told over its own socket.

A program that dies is started again by supervisord; this agent's death touches none of them.
"""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Error, Fault, ServerProxy

import psutil

from executors.deploy.home import Home, plain
from executors.files import write_whole
from executors.process import Child
from schemas.error import AgentError, ErrorCode

POLL_S = 0.05
UP_S = 15.0
STOP_S = 10
LOG_BYTES = 32 * 1024**2
"""Of each program's output before it is moved to `.1`, which replaces the one before it."""

CONFIG = """\
[supervisord]
directory = {home}
logfile = {home}/logs/supervisord.log
pidfile = {home}/supervisord.pid
childlogdir = {home}/logs
umask = 077
[unix_http_server]
file = {home}/supervisor.sock
chmod = 0600
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[include]
files = {home}/programs/*.ini
"""
PROGRAM = """\
[program:{name}]
command = {command}
directory = {home}
environment = {environment}
autorestart = true
startsecs = 1
startretries = 60
stopwaitsecs = {stop_s}
stopasgroup = true
killasgroup = true
stdout_logfile = {home}/logs/{name}.log
stderr_logfile = {home}/logs/{name}.err
stdout_logfile_maxbytes = {log_bytes}
stderr_logfile_maxbytes = {log_bytes}
stdout_logfile_backups = 1
stderr_logfile_backups = 1
"""


@dataclass(frozen=True)
class Program:
    """One process to keep up; its output goes to `logs/<name>.log` and `.err`."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Running:
    """A program as supervisord sees it: STARTING, RUNNING, BACKOFF, STOPPED, FATAL; pid 0 where there is none."""

    state: str
    pid: int


@dataclass(frozen=True)
class Supervisor:
    """One deployment's supervisord."""

    home: Home

    async def up(self) -> bool:
        """Whether it answers."""
        return await asyncio.to_thread(self._answers)

    async def ensure(self) -> bool:
        """Start it where it does not run, with every program that it was given before; whether that was needed.

        Programs that a killed supervisord left behind are ended first: a new one cannot adopt them.

        Raises:
            AgentError: `toolchain_missing` where the package is not installed, `tool_failed` where it does not start.
        """
        if await self.up():
            return False
        _check_installed()
        await asyncio.to_thread(self._end_leftovers)
        file = self.home.path / "supervisord.conf"
        write_whole(file, CONFIG.format(home=self.home.path))
        argv = [sys.executable, "-m", "supervisor.supervisord", "-c", str(file)]
        async with Child(argv, log=self.home.logs / "supervisord.out", cwd=self.home.path) as child:
            if await child.wait():  # it goes on in the background, in a session of its own
                raise AgentError(ErrorCode.TOOL_FAILED, f"supervisord does not start: {child.tail()}")
            await (
                self._answering()
            )  # before the group of this child is ended: its session begins after its parent's end
        return True

    async def _answering(self) -> None:
        deadline = time.monotonic() + UP_S
        while not await self.up():
            if time.monotonic() > deadline:
                raise AgentError(ErrorCode.TOOL_FAILED, f"supervisord does not answer; see {self.home.logs}")
            await asyncio.sleep(POLL_S)

    async def keep(self, program: Program) -> None:
        """Start a program and keep it up; one of the same name is replaced."""
        await self.ensure()
        await self.drop(program.name)
        environment = ",".join(f'{plain(key)}="{plain(value)}"' for key, value in program.environment.items())
        text = PROGRAM.format(
            name=plain(program.name),
            command=" ".join(plain(word) for word in program.argv),
            home=self.home.path,
            environment=environment,
            stop_s=STOP_S,
            log_bytes=LOG_BYTES,
        )
        write_whole(self._file(program.name), text)
        await self._call("reloadConfig")
        await self._call("addProcessGroup", program.name)

    async def drop(self, name: str) -> None:
        """Stop a program and forget it; nothing happens where there is none."""
        self._file(name).unlink(missing_ok=True)
        with contextlib.suppress(Fault):  # BAD_NAME: it was not there
            await self._call("stopProcessGroup", name)
            await self._call("removeProcessGroup", name)

    async def running(self) -> dict[str, Running]:
        """Every program by name."""
        found = await self._call("getAllProcessInfo")
        return {str(item["name"]): Running(str(item["statename"]), int(item["pid"])) for item in found}

    async def shut_down(self) -> None:
        """End every program and supervisord itself."""
        if await self.up():
            own = psutil.Process(int(await self._call("getPID")))
            await self._call("shutdown")
            await asyncio.to_thread(psutil.wait_procs, [own], 2 * STOP_S)
        await asyncio.to_thread(self._end_leftovers)

    def _file(self, name: str) -> Path:
        return self.home.path / "programs" / f"{name}.ini"

    def _answers(self) -> bool:
        try:
            with _proxy(self.home) as proxy:
                return bool(proxy.supervisor.getState())
        except (OSError, HTTPException, Error):
            return False

    async def _call(self, method: str, *arguments: str) -> Any:  # noqa: ANN401 - XML-RPC answers with what it likes
        """One call; raises Fault as supervisord answered, AgentError `tool_failed` where it does not answer."""

        def call() -> Any:  # noqa: ANN401 - as above
            with _proxy(self.home) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)

        try:
            return await asyncio.to_thread(call)
        except (OSError, HTTPException) as error:
            detail = f"the supervisor of {self.home.name} does not answer: {error}"
            raise AgentError(ErrorCode.TOOL_FAILED, detail) from error

    def _end_leftovers(self) -> None:
        """End what supervisord started and no longer holds: each program has its address in the environment."""
        left = [process for process in psutil.process_iter() if _started_by(process, self.home)]
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            _, left = psutil.wait_procs(left, timeout=STOP_S)


def _started_by(process: psutil.Process, home: Home) -> bool:
    try:
        return process.environ().get("SUPERVISOR_SERVER_URL") == f"unix://{home.supervisor_socket}"
    except psutil.Error:  # somebody else's, or gone
        return False


def _check_installed() -> None:
    """Raise AgentError `toolchain_missing` where supervisord is not beside this agent."""
    try:
        import supervisor.supervisord  # noqa: F401, PLC0415 - an optional extra, needed only where something is deployed
    except ImportError:
        detail = "production needs supervisor: pip install 'inferwright[deploy]'"
        raise AgentError(ErrorCode.TOOLCHAIN_MISSING, detail) from None


def _proxy(home: Home) -> Any:  # noqa: ANN401 - xmlrpc's proxy answers to every name
    from supervisor.xmlrpc import SupervisorTransport  # noqa: PLC0415 - as above

    return ServerProxy("http://local", SupervisorTransport(serverurl=f"unix://{home.supervisor_socket}"))
