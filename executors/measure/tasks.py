"""Tasks of lm-evaluation-harness: a model, names and their items in; each item's scores out, paired between two models.

Each model answers through an endpoint that this module serves for it, whatever engine loads it, or that is there
already; a plain folder of transformers' is loaded by the harness itself.
"""

import contextlib
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, fmean, stdev
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from executors.measure.task_data import items_of
from executors.worker import Workbench, Worker
from schemas.artifact import Text
from schemas.base import Record
from schemas.error import AgentError, ErrorCode
from schemas.measurement import ServedModel, TaskComparison

DEFINITIONS = Path(__file__).parent / "task_definitions"
TOOLCHAIN = "lm-eval"
CONTEXT = 1024
CONFIDENCE = 0.95
FEWEST = 2
"""Items below which there is no spread."""


class Task(Record):
    """A task by name, with the files that hold its items, by split."""

    name: str
    splits: dict[str, Path]
    source: str
    """Where the items come from, with their licence where that is known."""


class Item(Record):
    """One item of a task: scores by metric; larger is better in all of them."""

    event: Literal["item"] = "item"
    task: str
    item: NonNegativeInt
    scores: dict[str, float]


class TaskScores(Record):
    """All items of one model."""

    items: tuple[Item, ...]


class TaskRequest(Record):
    """What `workers/lm_eval_tasks.py` is asked."""

    tasks: tuple[Task, ...]
    definitions: Path = DEFINITIONS
    folder: Path | None = None
    url: str = ""
    model: str = ""
    items: PositiveInt
    n_ctx: PositiveInt = CONTEXT
    threads: PositiveInt


class ServeRequest(Record):
    """What `workers/completions_serve.py` is asked."""

    model: Path
    engine: str
    n_ctx: PositiveInt = CONTEXT
    threads: PositiveInt


class Listening(Record):
    """Where it listens."""

    event: Literal["result"]
    url: str


@dataclass(frozen=True)
class Bookshelf:
    """Where items come from: the text that the shipped tasks are made of, their cache, the user's own folder."""

    text: Text
    cache: Path
    own: Path | None = None
    """Has a folder for each task, named as the harness names it, with a `SPLIT.jsonl` for each split."""

    def tasks(self, names: Sequence[str]) -> tuple[Task, ...]:
        """The tasks called `names`.

        Raises:
            AgentError: `unsupported`, with the names there are; `unsupported` where the text is too short.
        """
        known = {task.name: task for task in (*self._shipped(), *self._own())}
        lacking = [name for name in names if name not in known]
        if lacking:
            detail = f"there is no task {lacking[0]!r} with items here; there are {', '.join(known)}"
            raise AgentError(ErrorCode.UNSUPPORTED, detail)
        return tuple(known[name] for name in names)

    def _shipped(self) -> Iterator[Task]:
        licence = f", {self.text.licence}" if self.text.licence else ""
        for name, path in items_of(self.text, self.cache).items():
            yield Task(name=name, splits={"test": path}, source=f"made of {self.text.label}{licence}")

    def _own(self) -> Iterator[Task]:
        for folder in sorted(self.own.glob("*/")) if self.own else ():
            splits = {path.stem: path for path in sorted(folder.glob("*.jsonl"))}
            if splits:
                yield Task(name=folder.name, splits=splits, source=f"the user's own data, {', '.join(splits)}")


@contextlib.asynccontextmanager
async def answering(model: Path, engine: str, bench: Workbench) -> AsyncIterator[ServedModel]:
    """A model served for scoring by `engine` in `bench`'s toolchain while the body lasts.

    Raises:
        AgentError: `unreadable_model`, `out_of_memory`, `tool_failed`.
    """
    request = ServeRequest(model=model, engine=engine, threads=bench.threads)
    async with Worker(bench, "completions_serve", request, Listening) as worker:
        async for listening in worker.answers():
            yield ServedModel(url=listening.url, model=model.stem)
            break


async def evaluate(model: Path | ServedModel, tasks: Sequence[Task], items: int, bench: Workbench) -> TaskScores:
    """Scores of a Hugging Face folder or of a served model, in the toolchain `lm-eval`; at most `items` of each task.

    Raises:
        AgentError: `tool_failed`.
    """
    served = model if isinstance(model, ServedModel) else None
    request = TaskRequest(
        tasks=tuple(tasks),
        folder=model if isinstance(model, Path) else None,
        url=served.url if served else "",
        model=served.model if served else "",
        items=items,
        threads=bench.threads,
    )
    async with Worker(bench, "lm_eval_tasks", request, Item) as worker:
        return TaskScores(items=tuple([item async for item in worker.answers()]))


def compare(tasks: Sequence[Task], baseline: TaskScores, candidate: TaskScores) -> tuple[TaskComparison, ...]:
    """Each metric of each task: means, and their difference with its standard error, paired by item.

    Raises:
        AgentError: `tool_failed` where the two did not see the same items, or fewer than two.
    """
    return tuple(_compared(tasks, baseline, candidate))


def _compared(tasks: Sequence[Task], baseline: TaskScores, candidate: TaskScores) -> Iterator[TaskComparison]:
    quantile = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    for task in tasks:
        ours, theirs = (
            {it.item: it.scores for it in one.items if it.task == task.name} for one in (baseline, candidate)
        )
        if ours.keys() != theirs.keys() or len(ours) < FEWEST:
            detail = f"{task.name} gave {len(ours)} and {len(theirs)} items; at least {FEWEST}, the same, are needed"
            raise AgentError(ErrorCode.TOOL_FAILED, detail)
        for metric in next(iter(ours.values())):
            pairs = [(ours[item][metric], theirs[item][metric]) for item in sorted(ours)]
            gaps = [other - own for own, other in pairs]
            error = stdev(gaps) / math.sqrt(len(gaps))
            yield TaskComparison(
                task=task.name,
                metric=metric,
                items=len(gaps),
                baseline=fmean(own for own, _ in pairs),
                candidate=fmean(other for _, other in pairs),
                difference=fmean(gaps),
                standard_error=error,
                low=fmean(gaps) - quantile * error,
                high=fmean(gaps) + quantile * error,
                source=task.source,
            )
