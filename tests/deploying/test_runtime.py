"""The gateway's own words: whole answers are taken, what ends before its end is told apart from silence."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executors.deploy.runtime import Runtime
from schemas.error import AgentError, ErrorCode


@contextlib.asynccontextmanager
async def answering(folder: Path, words: bytes) -> AsyncIterator[Runtime]:
    """A gateway that answers with those bytes and hangs up: HAProxy itself cannot be made to die at a byte."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.write(words)
        writer.close()

    async with await asyncio.start_unix_server(answer, str(folder / "socket")):
        yield Runtime(folder / "socket")


@pytest.mark.parametrize("words", [b"", b"# pxname,svname\nblue,BACK", b"# pxname,svname\nblue,BACKEND\n"])
async def test_an_answer_that_ends_too_soon_is_none(tmp_path: Path, words: bytes) -> None:
    """A gateway that is killed while it answers has neither carried out an order nor said how its releases are."""
    async with answering(tmp_path, words) as gateway:
        for asked in (gateway.order("set maxconn server blue-rest/door 1"), gateway.backends()):
            with pytest.raises(AgentError, match="ended within its answer") as error:
                await asked
            assert error.value.code is ErrorCode.TOOL_FAILED


async def test_silence_and_words_are_whole_answers(tmp_path: Path) -> None:
    """An order that was carried out is answered with an empty line, a refused one with words and one more."""
    async with answering(tmp_path, b"\n") as gateway:
        await gateway.order("disable server blue/blue-1")
    (tmp_path / "other").mkdir()
    async with answering(tmp_path / "other", b"No such server.\n\n") as gateway:
        with pytest.raises(AgentError, match="No such server"):
            await gateway.order("disable server blue/blue-9")
