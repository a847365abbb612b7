"""Jobs, updates and deployments in as they change, boards of what is new out; one set of feeds for all who watch."""

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic

import structlog
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, DeliverPolicy
from pydantic import ValidationError
from yarl import URL

from acp.consumers import forget
from acp.ledger import Change
from acp.outbox import number_of
from acp.service import Backend, Service
from acp.subjects import Subjects
from schemas.board import Board, JobCard, TimedUpdate
from schemas.deployment import DeploymentList, DeploymentReport
from schemas.error import AgentError, ErrorCode
from schemas.job import ANYBODY, JobSummary
from schemas.status import StatusUpdate

log = structlog.get_logger()
JOBS = 200
"""Jobs kept for the board: the newest, and every one that has not ended as long as there are no more of those."""
UPDATES = 1000
"""Updates kept for the board, the newest of all jobs."""
WATCHERS = 256
LOOK_S = 2.0
"""How often deployments are looked at, as long as that is quick."""
LOOK_SHARE = 0.05
"""Of the time, that looking may take."""
LOST_S = 0.5
"""How often the connection is looked at."""
FILL_S = 10.0
"""How long a first board waits for what the broker keeps."""
DEPLOYMENTS = "DEPLOYMENT_STATUS"
_CURSOR = re.compile(r"(\d{1,18})-(\d{1,18})")


@dataclass(frozen=True)
class Cursor:
    """How far a reader has seen: the ledger's revision and the status stream's sequence, which outlive this process."""

    revision: int = 0
    sequence: int = 0
    look: int = 0
    """The look at deployments, counted by this process."""

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """The cursor that `text` (a `Last-Event-ID`) names; the beginning where it names none."""
        named = _CURSOR.fullmatch(text)
        return cls(int(named[1]), int(named[2])) if named else cls()

    def __str__(self) -> str:
        return f"{self.revision}-{self.sequence}"


class Live:
    """Feeds for as long as anybody watches."""

    def __init__(self) -> None:
        self._feed: Feed | None = None
        self._watchers = 0

    @contextlib.asynccontextmanager
    async def watched(self, backend: Backend, service: Service) -> AsyncIterator["Feed"]:
        """The feeds, shared with all who watch at the same time.

        Raises:
            AgentError: `rate_limited` where too many watch, `broker_unavailable` where the broker does not tell.
        """
        if self._watchers >= WATCHERS:
            raise AgentError(ErrorCode.RATE_LIMITED, f"{WATCHERS} readers watch already; close some")
        if self._feed is None or self._feed.over:
            self._feed = Feed(backend, service)
        feed = self._feed
        self._watchers += 1
        try:
            await feed.filled()
            yield feed
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._feed = None
            if self._feed is not feed:
                await feed.end()

    async def end(self, _: object = None) -> None:
        """End the feeds, and with them every reader's stream."""
        if self._feed is not None:
            await self._feed.end()


class _Reconnected(Exception):  # noqa: N818 - an event, not an error
    """The connection to the broker was lost and is back."""


class Feed:
    """What the broker and the deployments tell, bounded. Readers have cursors, no queues: a slow one costs nothing."""

    def __init__(self, backend: Backend, service: Service) -> None:
        self._backend = backend
        self._service = service
        self._names = Subjects(backend.bus.settings.agent)
        self._jobs: dict[str, tuple[int, JobCard]] = {}
        self._updates: deque[tuple[int, TimedUpdate]] = deque(maxlen=UPDATES)
        self._deployments: tuple[DeploymentReport, ...] = ()
        self._now = Cursor()
        self._news = asyncio.Event()
        self._told = (asyncio.Event(), asyncio.Event())
        self._run = asyncio.create_task(self._feed())
        self._run.add_done_callback(lambda _: self._tell(self._now))

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self._run.done()

    async def filled(self) -> None:
        """Wait until what the broker keeps has been told.

        Raises:
            AgentError: `broker_unavailable` where it is not told in time.
        """
        telling = asyncio.create_task(self._whole())
        await asyncio.wait({telling, self._run}, timeout=FILL_S, return_when=asyncio.FIRST_COMPLETED)
        if not telling.done():
            telling.cancel()
            raise AgentError(ErrorCode.BROKER_UNAVAILABLE, "the broker does not tell of its jobs right now; try again")

    async def _whole(self) -> None:
        for event in self._told:
            await event.wait()

    async def end(self) -> None:
        """Stop; whoever still watches is told no more."""
        self._run.cancel()
        await asyncio.gather(self._run, return_exceptions=True)

    async def news(self, cursor: Cursor, timeout: float) -> None:
        """Wait until there is something beyond `cursor`, `timeout` seconds at the most."""
        if cursor == self._now and not self.over:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), timeout)

    def since(self, cursor: Cursor) -> tuple[Board, Cursor]:
        """What is new beyond `cursor`, and how far that is; all where the broker has forgotten what the cursor saw."""
        if cursor.revision > self._now.revision or cursor.sequence > self._now.sequence:
            cursor = Cursor()
        bus = self._backend.bus
        board = Board(
            agent=bus.settings.agent,
            ready=self._service.healthy,
            nats=str(URL(bus.urls[0]).with_user(None)),
            at=datetime.now(UTC),
            jobs=tuple(card for revision, card in self._jobs.values() if revision > cursor.revision),
            updates=tuple(update for sequence, update in self._updates if sequence > cursor.sequence),
            deployments=self._deployments if self._now.look != cursor.look else None,
        )
        return board, self._now

    def _tell(self, now: Cursor) -> None:
        self._now = now
        self._news.set()
        self._news = asyncio.Event()

    async def _feed(self) -> None:
        try:
            async with asyncio.TaskGroup() as feeds:
                feeds.create_task(self._feed_jobs())
                feeds.create_task(self._feed_updates())
                feeds.create_task(self._feed_deployments())
                feeds.create_task(self._until_reconnected())
        except* _Reconnected:
            log.info("live_ends", why="the broker was away")
        except* Exception:
            log.exception("live_ended")

    async def _until_reconnected(self) -> None:
        """End all feeds once the broker was away: anew, they see at once what these would see after three heartbeats.

        Raises:
            _Reconnected: then.
        """
        bus = self._backend.bus
        lost = bus.counts["disconnects"]
        while bus.counts["disconnects"] == lost or not bus.up:  # noqa: ASYNC110 - its events are cleared by others
            await asyncio.sleep(LOST_S)
        raise _Reconnected

    async def _feed_jobs(self) -> None:
        async for change in self._backend.kit.ledger.changes():
            if change is None:
                self._told[0].set()
                continue
            self._jobs[change.record.job] = (change.revision, _card(change))
            if len(self._jobs) > JOBS:
                del self._jobs[min(self._jobs, key=self._worth)]
            self._tell(Cursor(change.revision, self._now.sequence, self._now.look))

    def _worth(self, job: str) -> tuple[bool, str]:
        """What a job is worth keeping for: that it has not ended, then that it is new."""
        summary = self._jobs[job][1].job
        return not summary.state.terminal, summary.accepted_at

    async def _feed_updates(self) -> None:
        js, stream = self._backend.bus.js, self._names.stream("status")
        start = max(1, (await js.stream_info(stream)).state.last_seq - UPDATES + 1)
        config = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=start)
        messages = await js.subscribe(self._names.statuses, stream=stream, ordered_consumer=True, config=config)
        try:
            consumer = await messages.consumer_info()
            if not consumer.num_pending and not (consumer.delivered and consumer.delivered.consumer_seq):
                self._told[1].set()
            async for message in messages.messages:
                update = _timed(message)
                if update is not None:
                    sequence = message.metadata.sequence.stream
                    self._updates.append((sequence, update))
                    self._tell(Cursor(self._now.revision, sequence, self._now.look))
                if message.metadata.num_pending == 0:
                    self._told[1].set()
        finally:
            await forget(js, messages)

    async def _feed_deployments(self) -> None:
        route = self._service.intake.routes.get(DEPLOYMENTS)
        if route is None:
            return
        question = route.command.model_validate({"cmd": DEPLOYMENTS})
        while True:
            began = monotonic()
            try:
                answer = await route.answer(question, ANYBODY)
            except AgentError as error:
                log.warning("deployments_not_shown", error=error.detail)
            else:
                if isinstance(answer, DeploymentList) and answer.deployments != self._deployments:
                    self._deployments = answer.deployments
                    self._tell(Cursor(self._now.revision, self._now.sequence, self._now.look + 1))
            await asyncio.sleep(max(LOOK_S, (monotonic() - began) / LOOK_SHARE))


def _card(change: Change) -> JobCard:
    return JobCard(job=JobSummary.of(change.record), changed_at=change.at, ending=change.record.cancel)


def _timed(message: Msg) -> TimedUpdate | None:
    """The update of a message; None where an open broker let somebody publish what is none."""
    job = message.subject.rpartition(".")[2]
    number = number_of(message.headers, job)
    try:
        update = StatusUpdate.model_validate_json(message.data)
    except ValidationError as error:
        log.warning("update_not_shown", subject=message.subject, error=str(error)[:200])
        return None
    if number is None:
        log.warning("update_not_shown", subject=message.subject, error="it was not published here")
        return None
    return TimedUpdate(job=job, seq=number, at=message.metadata.timestamp, update=update)
