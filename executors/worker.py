"""Workers: a request record in, progress and result records out, from a script that a toolchain's interpreter runs."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Generic, Literal, Self, TypeVar

from pydantic import BaseModel, NonNegativeInt, ValidationError

from executors.process import NO_LIMITS, Child, Limits
from executors.toolchain import Toolchain
from schemas.base import Record
from schemas.error import AgentError, ErrorCode

SCRIPTS = Path(__file__).parent / "workers"
KILLED = 128 + 9
SETTINGS = {
    "OPENBLAS_NUM_THREADS": "1",  # its pool would only reserve memory here
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",  # weights and texts come from this machine's disk or not at all
    "HF_DATASETS_OFFLINE": "1",
}


class Progress(Record):
    """How far a worker is, in the unit that `detail` names."""

    event: Literal["progress"] = "progress"
    done: NonNegativeInt
    total: NonNegativeInt
    detail: str


class _Failure(Record):
    event: Literal["error"]
    code: ErrorCode
    detail: str


class _Event(BaseModel):
    """Only what tells one line's kind from another's."""

    event: str


def ignore(_: Progress) -> None:
    """For callers that show no progress."""


@dataclass(frozen=True)
class Workbench:
    """Where and how workers run: toolchain, engine threads, the log they append to, who hears of progress."""

    toolchain: Toolchain
    threads: int
    log: Path
    on_progress: Callable[[Progress], None] = ignore
    limits: Limits = NO_LIMITS


AnswerT = TypeVar("AnswerT", bound=Record)


class Worker(Generic[AnswerT]):
    """A running worker. Use as an async context manager: leaving it ends its process group."""

    def __init__(self, bench: Workbench, script: str, request: Record, answer: type[AnswerT]) -> None:
        self._bench = bench
        self._script = script
        self._request = request
        self._answer = answer
        self._child = Child(
            # -s and -E: nothing of the user's own site or Python settings; the script's folder must stay importable
            [str(bench.toolchain.python), "-s", "-E", "-B", str(SCRIPTS / f"{script}.py")],
            log=bench.log,
            env=SETTINGS | {"OMP_NUM_THREADS": str(bench.threads)},
            limits=bench.limits,
            read_output=True,
        )

    async def __aenter__(self) -> Self:
        await self._child.start(self._request.model_dump_json().encode())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._child.end()

    async def answers(self) -> AsyncGenerator[AnswerT]:
        """The worker's results as they come; progress goes to the bench.

        Raises:
            AgentError: what the worker said is wrong, or `tool_failed` with the log's last lines where it died.
        """
        async for line in self._child.lines():
            try:
                event = _Event.model_validate_json(line).event
                if event == "progress":
                    self._bench.on_progress(Progress.model_validate_json(line))
                elif event == "error":
                    failure = _Failure.model_validate_json(line)
                    raise AgentError(failure.code, failure.detail)
                else:
                    yield self._answer.model_validate_json(line)
            except ValidationError as error:
                raise AgentError(ErrorCode.TOOL_FAILED, f"{self._script} said something unexpected: {error}") from error
        code = await self._child.wait()
        if code:
            raise AgentError(ErrorCode.TOOL_FAILED, self._epitaph(code))

    def _epitaph(self, code: int) -> str:
        how = "was killed (perhaps for want of memory)" if code == KILLED else f"ended with status {code}"
        return f"{self._script} {how}; its last lines in {self._bench.log}:\n{self._child.tail()}"


async def ask(bench: Workbench, script: str, request: Record, answer: type[AnswerT]) -> AnswerT:
    """The one result of a worker that gives one.

    Raises:
        AgentError: as `Worker.answers`.
    """
    async with Worker(bench, script, request, answer) as worker:
        results = [result async for result in worker.answers()]
    if len(results) != 1:
        raise AgentError(ErrorCode.TOOL_FAILED, f"{script} ended without a result; see {bench.log}")
    return results[0]
