"""HAProxy's runtime API: one line over its socket in, its words out as records."""

import asyncio
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import NonNegativeInt, PositiveInt

from executors.deploy.doors import DOOR, REST
from schemas.base import Record
from schemas.error import AgentError, ErrorCode

ANSWER_S = 5.0
SILENCE, END = b"\n", b"\n\n"
"""An answer without words, and what words end with: HAProxy closes each answer with an empty line."""


class ServerNow(Record):
    """One server of a backend."""

    slot: str
    name: str
    state: str
    """UP, DOWN, MAINT or DRAIN; how near to another is left out."""
    queued: NonNegativeInt
    open_requests: NonNegativeInt
    served: NonNegativeInt


class BackendNow(Record):
    """One release's backend with the door before it: what waits for it and what it has open."""

    slot: str
    queued: NonNegativeInt
    held_back: NonNegativeInt
    """Of those that wait, the ones before the door."""
    inside: NonNegativeInt
    """Those that came by the door."""
    let_in: PositiveInt
    """Requests that may be past the door."""
    open_requests: NonNegativeInt
    """Those that wait included."""
    served: NonNegativeInt
    servers: tuple[ServerNow, ...]

    @property
    def up(self) -> int:
        """Servers that take requests."""
        return sum(server.state == "UP" for server in self.servers)


class Runtime:
    """The socket of one HAProxy."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def ask(self, line: str) -> str:
        """The answer to one command.

        Raises:
            AgentError: `tool_failed` where the gateway does not answer, or ends before it has.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                try:
                    writer.write(line.encode() + b"\n")
                    writer.write_eof()
                    words = await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            detail = f"the gateway does not answer at {self._socket}: {error or 'too slow'}"
            raise AgentError(ErrorCode.TOOL_FAILED, detail) from error
        if words != SILENCE and not words.endswith(END):
            raise AgentError(ErrorCode.TOOL_FAILED, f"the gateway at {self._socket} ended within its answer")
        return words.decode().strip()

    async def order(self, line: str) -> None:
        """A command that is answered with silence where it was carried out.

        Raises:
            AgentError: `tool_failed` with the gateway's words.
        """
        words = await self.ask(line)
        if words:
            raise AgentError(ErrorCode.TOOL_FAILED, f"the gateway refused {line!r}: {words}")

    async def backends(self) -> dict[str, BackendNow]:
        """Every release's backend by name."""
        rows = list(_rows(await self.ask("show stat -1 6 -1")))
        totals = {row["pxname"]: row for row in rows if row["svname"] == "BACKEND"}
        doors = {row["pxname"].removesuffix(REST): row for row in rows if row["svname"] == DOOR}
        return {
            slot: _backend(totals[slot], totals[slot + REST], door, [row for row in rows if row["pxname"] == slot])
            for slot, door in doors.items()
        }

    async def pid(self) -> int:
        """HAProxy's own process."""
        for line in (await self.ask("show info")).splitlines():
            if line.startswith("Pid: "):
                return int(line.removeprefix("Pid: "))
        raise AgentError(ErrorCode.TOOL_FAILED, "the gateway does not say its process id")

    async def mapped(self, file: Path) -> dict[str, str]:
        """A map as it is at run time; its file may say otherwise."""
        lines = (await self.ask(f"show map {file}")).splitlines()
        return {key: value for line in lines for _, key, value in (line.split(maxsplit=2),)}


def _rows(text: str) -> Iterator[dict[str, str]]:
    return csv.DictReader(text.removeprefix("# ").splitlines())


def _backend(
    total: dict[str, str], rest: dict[str, str], door: dict[str, str], rows: Sequence[dict[str, str]]
) -> BackendNow:
    held_back = int(rest["qcur"] or 0)
    return BackendNow(
        slot=total["pxname"],
        queued=int(total["qcur"] or 0) + held_back,
        held_back=held_back,
        inside=int(door["scur"] or 0),
        let_in=int(door["slim"]),
        open_requests=int(total["scur"] or 0) + held_back,
        served=int(total["stot"] or 0),
        servers=tuple(_server(row) for row in rows if row["svname"] != "BACKEND"),
    )


def _server(row: dict[str, str]) -> ServerNow:
    return ServerNow(
        slot=row["pxname"],
        name=row["svname"],
        state=row["status"].split()[0],
        queued=int(row["qcur"] or 0),
        open_requests=int(row["scur"] or 0),
        served=int(row["stot"] or 0),
    )
