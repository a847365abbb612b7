"""Deployments of tests: short paths, since sockets need them, and nothing of theirs is left running."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from executors.deploy.engines import Engines
from executors.deploy.haproxy import GatewaySettings
from executors.deploy.home import Home
from executors.deploy.site import Site
from executors.toolchain import Toolchain
from schemas.plan import Strategy

STRATEGY = Strategy(engine="llama.cpp", weight_format="Q4_1", accelerator="host", max_sequences=2, context=512)


def processes_of(folder: Path) -> list[psutil.Process]:
    """What a supervisor under `folder` started, and supervisors themselves."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = " ".join((*process.cmdline(), process.environ().get("SUPERVISOR_SERVER_URL", "")))
            if str(folder) in words:
                found.append(process)
    return found


@pytest.fixture
def runs() -> Iterator[Path]:
    """A folder for runs whose deployments must be down at the end."""
    folder = Path(tempfile.mkdtemp(prefix="iw-", dir="/tmp"))
    yield folder
    left = processes_of(folder)
    for process in left:
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)
    assert left == []


@pytest.fixture
def site(runs: Path, llamacpp: Toolchain) -> Site:
    """A place for a deployment called `test`, with nothing in it."""
    home = Home.under(runs / "deployments", "test")
    home.make()
    return Site(home, Engines(home, llamacpp.python), GatewaySettings())
