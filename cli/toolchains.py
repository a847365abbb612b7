"""`inferwright toolchain`: the environments that heavy tools live in, listed, made, checked and removed."""

import sys
import tempfile
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from cli.board import Board
from cli.places import workshop
from executors import toolchain
from schemas.error import AgentError
from schemas.toolchain import ToolchainStatus

MEGA = 1e6


def list_all(*, json: bool) -> None:
    """Print every toolchain with its state and its size on disk."""
    found = [_status(name) for name in toolchain.known()]
    if json:
        _print(found)
        return
    table = Table("name", "state", "MB", "what it is", box=None)
    for item in found:
        table.add_row(item.name, item.state, _megabytes(item), item.summary)
    Console().print(table)


async def install(names: list[str], *, json: bool) -> None:
    """Make each toolchain where it is missing, stale or broken, with progress.

    Raises:
        AgentError: `toolchain_missing` for an unknown name, `disk_full`, `tool_failed`.
    """
    specs = [toolchain.specification(name) for name in names]
    with Board() as board:
        for spec in specs:
            await toolchain.install(spec, workshop().cache, board.doing)
            board.note(f"toolchain {spec.name} is ready, {_megabytes(_status(spec.name))} MB")
    if json:
        _print([_status(name) for name in names])


async def verify(names: list[str], *, json: bool) -> None:
    """Import what must import in each installed toolchain; one that is not whole is marked as broken.

    Raises:
        AgentError: `toolchain_missing` or `tool_failed`, naming what is wrong with the first that is not whole.
    """
    problems: list[AgentError] = []
    with Board() as board, tempfile.TemporaryDirectory() as folder:
        for name in names:
            try:
                await toolchain.examine(toolchain.find(name, workshop().cache), Path(folder) / "log")
                board.note(f"toolchain {name} is whole")
            except AgentError as error:
                problems.append(error)
                board.note(f"toolchain {name} is not: {error.detail}")
    if json:
        _print([_status(name) for name in names])
    if problems:
        raise AgentError(problems[0].code, f"{problems[0].detail}")


async def remove(names: list[str], *, json: bool) -> None:
    """Delete toolchains; one that is not installed stays so.

    Raises:
        AgentError: `toolchain_missing` for an unknown name.
    """
    with Board() as board:
        for name in names:
            freed = _megabytes(_status(name))
            await toolchain.remove(name, workshop().cache)
            board.note(f"toolchain {name} is removed, {freed} MB are free again")
    if json:
        _print([_status(name) for name in names])


def _status(name: str) -> ToolchainStatus:
    return toolchain.status(toolchain.specification(name), workshop().cache)


def _print(found: list[ToolchainStatus]) -> None:
    sys.stdout.buffer.write(orjson.dumps([item.model_dump(mode="json") for item in found]) + b"\n")


def _megabytes(status: ToolchainStatus) -> str:
    return f"{status.bytes / MEGA:,.0f}"
