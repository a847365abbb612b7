"""A cache of answers before a gateway: NGINX under the supervisor, kept in step with what serves; its hits counted."""

import asyncio
import contextlib
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import psutil

from executors.deploy import nginx
from executors.deploy.checked import put
from executors.deploy.home import Home
from executors.deploy.requests import LogReader, rotated
from executors.deploy.supervisor import Program, Supervisor
from schemas.deployment import AnswerCache, Deployment
from schemas.error import AgentError, ErrorCode
from schemas.exposure import CacheFigures

PROGRAM = "answers"
POLL_S = 0.02
RELOAD_S = 10.0
ENDING = "is shutting down"
"""What NGINX writes over the command line of a worker that takes no more connections."""
KINDS = {"HIT": "hit", "": "passed", "BYPASS": "passed"}
"""By NGINX's word; whatever else it says is an answer that had to be made."""


@dataclass(frozen=True)
class Answers:
    """The cache of one deployment."""

    home: Home

    async def start(self, deployment: Deployment, cache: AnswerCache) -> None:
        """Keep answers from now on.

        Raises:
            AgentError: `toolchain_missing`; `tool_failed` where NGINX refuses its configuration or does not listen.
        """
        await self.stop()  # what is left of another deployment's answers must not be given
        (self.home.path / "nginx").mkdir(mode=0o700)
        await self._write(nginx.front(self.home, deployment, cache))
        await Supervisor(self.home).keep(Program(PROGRAM, (nginx.find(), "-e", "stderr", "-c", str(self._config))))
        await self._listening(cache.port)

    async def stop(self) -> None:
        """End it, and delete every answer."""
        await Supervisor(self.home).drop(PROGRAM)
        shutil.rmtree(self.home.path / "nginx", ignore_errors=True)

    async def follow(self, deployment: Deployment) -> None:
        """After a change of what serves: no answer of another release is given from now on, and none is left.

        Raises:
            AgentError: `tool_failed` where NGINX does not take the change.
        """
        if deployment.cache is None:
            return
        text = nginx.front(self.home, deployment, deployment.cache)
        if self._config.exists() and self._config.read_text() == text:
            return
        await self._write(text)
        running = (await Supervisor(self.home).running()).get(PROGRAM)
        if running and running.pid:
            await self._reload(running.pid)
        kept = nginx.folder(self.home, deployment) if deployment.candidate is None else None
        for answers in (self.home.path / "nginx").glob("answers-v*"):
            if answers != kept:
                await asyncio.to_thread(shutil.rmtree, answers, ignore_errors=True)

    @property
    def _config(self) -> Path:
        return self.home.path / "nginx" / "nginx.conf"

    async def _write(self, text: str) -> None:
        """Put the configuration into its place, checked by NGINX itself."""
        check = (nginx.find(), "-t", "-q", "-e", "stderr", "-c")
        await put(text, self._config, "NGINX", check, self.home.logs / "answers-check.log")

    async def _reload(self, master: int) -> None:
        """Make NGINX read its configuration; no worker with the old one takes a request afterwards."""
        with contextlib.suppress(psutil.NoSuchProcess):  # it died: the supervisor starts it with the new one
            process = psutil.Process(master)
            old = {worker.pid for worker in process.children()}
            process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + RELOAD_S
            while any(worker.pid in old and not _ending(worker) for worker in process.children()):
                if time.monotonic() > deadline:
                    raise AgentError(ErrorCode.TOOL_FAILED, f"NGINX does not read {self._config} again")
                await asyncio.sleep(POLL_S)

    async def _listening(self, port: int) -> None:
        deadline = time.monotonic() + RELOAD_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(POLL_S)
        raise AgentError(ErrorCode.TOOL_FAILED, f"NGINX does not listen; see {self.home.logs / PROGRAM}.err")


class CacheCounts:
    """What a cache did, as far as its log tells; it remembers how far it has read."""

    def __init__(self, home: Home) -> None:
        self._log = LogReader(home.logs / f"{PROGRAM}.log")
        self._counts: Counter[str] = Counter()

    def read(self, deployment: Deployment) -> CacheFigures | None:
        """Figures as of now; None where nothing is kept."""
        self._counts.update(_kinds(self._log))
        return _figures(deployment, self._counts)


def counted(home: Home, deployment: Deployment) -> CacheFigures | None:
    """What the whole log of a cache tells; None where nothing is kept."""
    log = home.logs / f"{PROGRAM}.log"
    return _figures(deployment, Counter(kind for file in (rotated(log), log) for kind in _kinds(LogReader(file))))


def _figures(deployment: Deployment, counts: Counter[str]) -> CacheFigures | None:
    if deployment.cache is None:
        return None
    return CacheFigures(deployment=deployment.name, hit=counts["hit"], miss=counts["miss"], passed=counts["passed"])


def _kinds(log: LogReader) -> Iterator[str]:
    """Whether each answer was kept already, had to be made to be kept, or is none to keep."""
    for line in log.lines():
        with contextlib.suppress(orjson.JSONDecodeError, KeyError):  # cut off when NGINX was killed
            yield KINDS.get(orjson.loads(line)["cache"], "miss")


def _ending(worker: psutil.Process) -> bool:
    try:
        return ENDING in " ".join(worker.cmdline()) or worker.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
