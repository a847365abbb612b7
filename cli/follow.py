"""A command sent as a peer would send it: reply, updates and outcome on the terminal."""

import sys

import orjson

from cli.board import Board
from cli.send import Watch, send
from schemas.status import InferenceStatus, JobState

EXITS = {JobState.COMPLETED: 0, JobState.NOT_MET: 3, JobState.FAILED: 4, JobState.CANCELLED: 130}
"""How each end of a job leaves the command line."""


async def run_send(raw: bytes, nats: str, *, json: bool) -> int:
    """Send `raw`, print the reply, follow the job there may be; the exit status says how it ended.

    Raises:
        AgentError: what the agent answered, or `broker_unavailable`.
    """
    with Board(quiet=json) as board:
        watch = Watch(accepted=lambda job: board.note(f"accepted as job {job}"), status=board.update)
        if json:
            watch = Watch(status=_print)
        sent = await send(raw, nats, watch=watch)
    if sent.terminal is None:
        sys.stdout.write((sent.reply if json else _readable(sent.reply)) + "\n")
        return 0
    final = sent.terminal.inference_status
    sys.stdout.write((sent.terminal.model_dump_json(exclude_none=True) if json else final.detail) + "\n")
    return EXITS[final.state]


def _readable(reply: str) -> str:
    """The page that an answer in Markdown holds, else the answer."""
    markdown = orjson.loads(reply).get("markdown")
    return markdown.rstrip() if isinstance(markdown, str) else reply


def _print(status: InferenceStatus) -> None:
    if not status.state.terminal:
        sys.stdout.write(status.model_dump_json(exclude_none=True) + "\n")
        sys.stdout.flush()
