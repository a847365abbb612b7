import asyncio
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from conftest import CACHE

from executors import toolchain
from schemas.cluster import Document

Checker = Callable[[Sequence[Document]], list[str]]
HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def checks() -> toolchain.Toolchain:
    """The tools that deployment files are checked with, installed."""
    return asyncio.run(toolchain.install(toolchain.specification("manifests"), CACHE, lambda _: None))


@pytest.fixture(scope="session")
def wrong(checks: toolchain.Toolchain) -> Checker:
    """Documents in, what the published schemas say is wrong with them out."""

    def check(documents: Sequence[Document]) -> list[str]:
        command = [str(checks.python), str(HERE / "check_manifests.py")]
        done = subprocess.run(command, input=json.dumps(documents), check=True, capture_output=True, text=True)  # noqa: S603
        return list(json.loads(done.stdout))

    return check
