"""A configuration's text in, its file in place out: not before the program that it is for accepts it."""

from collections.abc import Sequence
from pathlib import Path

from executors.files import write_whole
from executors.process import Child
from schemas.error import AgentError, ErrorCode


async def put(text: str, file: Path, program: str, check: Sequence[str], log: Path) -> None:
    """Write `text` to `file`, once `check` with the draft's path after it ends well; until then, what was there stays.

    Raises:
        AgentError: `tool_failed` with the words of `program`.
    """
    draft = file.with_suffix(".new")
    write_whole(draft, text)
    log.unlink(missing_ok=True)
    async with Child([*check, str(draft)], log=log) as child:
        if await child.wait():
            raise AgentError(ErrorCode.TOOL_FAILED, f"{program} refuses its configuration: {child.tail()}")
    draft.replace(file)
