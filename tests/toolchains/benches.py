"""Workbenches of the heavy toolchains' tests."""

from pathlib import Path

from conftest import CACHE

from executors import toolchain
from executors.worker import Workbench


def bench(name: str, folder: Path) -> Workbench:
    """One thread in a toolchain, with a log of its own."""
    return Workbench(toolchain.find(name, CACHE), 1, folder / f"log-{name}")
