"""What tests of real parts share: toolchains installed once into the cache, and the F16 form of the real model."""

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from executors import texts, toolchain
from executors.compress.gguf import quantize
from executors.worker import Workbench

CACHE = Path(os.environ.get("INFERWRIGHT_CACHE", "~/.cache/inferwright")).expanduser()
HEAVY = Path(__file__).parent / "toolchains"
"""Run by `make test-toolchains`, which names the folder."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the heavy toolchains' tests out unless they are asked for."""
    asked = any(HEAVY in (path := Path(word).resolve()).parents or path == HEAVY for word in config.args)
    return True if collection_path == HEAVY and not asked else None


def _install(name: str) -> toolchain.Toolchain:
    return asyncio.run(toolchain.install(toolchain.specification(name), CACHE, lambda _: None))


@pytest.fixture(scope="session")
def llamacpp() -> toolchain.Toolchain:
    """llama.cpp, installed."""
    return _install("llamacpp")


@pytest.fixture(scope="session")
def shipped() -> Path:
    """SmolLM2-135M-Instruct as it is shipped: Q4_1."""
    return _install("smollm2").files[0]


@pytest.fixture(scope="session")
def halves() -> texts.Texts:
    """The calibration and evaluation halves of the Wikipedia sample."""
    _install("texts")
    return texts.find(CACHE)


@pytest.fixture(scope="session")
def base(llamacpp: toolchain.Toolchain, shipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The baseline: the shipped weights, dequantised to F16."""
    folder = tmp_path_factory.mktemp("base")
    bench = Workbench(llamacpp, 1, folder / "log")
    asyncio.run(quantize(shipped, "F16", folder / "F16.gguf", importance=None, bench=bench))
    return folder / "F16.gguf"


@pytest.fixture
def bench(llamacpp: toolchain.Toolchain, tmp_path: Path) -> Workbench:
    """llama.cpp with one engine thread and a log of this test's own."""
    return Workbench(llamacpp, 1, tmp_path / "log")


@pytest.fixture
def nothing_left() -> object:
    """After the test, no process that it started is still there."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    assert left == []
