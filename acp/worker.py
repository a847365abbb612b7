"""Jobs from the work stream in, terminal statuses out: acknowledged last, and fenced until then."""

import asyncio
import shutil
from collections.abc import Coroutine
from functools import partial
from pathlib import Path

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import APIError
from pydantic import ValidationError

from acp import headers
from acp.bus import Bus
from acp.envelope import classify
from acp.intake import validated
from acp.job import Job, Kit, failure
from acp.lease import Lease
from acp.ledger import patiently
from acp.outbox import DeadLetter
from acp.room import told_when_full
from acp.routes import Routes
from acp.streams import CONSUMER
from acp.subjects import Subjects
from acp.supervise import Drained, Supervisor
from acp.work import Work
from schemas.error import AgentError, ErrorCode, first_error
from schemas.job import Outcome

log = structlog.get_logger()
PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


class Worker:
    """Takes up to `concurrent_jobs` jobs at a time."""

    def __init__(self, bus: Bus, kit: Kit, routes: Routes, name: str) -> None:
        self._bus = bus
        self._settings = bus.settings
        self._subjects = Subjects(bus.settings.agent)
        self._kit = kit
        self._routes = routes
        self.name = name
        self._slots = asyncio.Semaphore(bus.settings.concurrent_jobs)
        self.running: dict[str, asyncio.Task[None]] = {}
        self.draining = asyncio.Event()

    async def run(self) -> None:
        """Take jobs until draining, then hand back what is unfinished."""
        queue = await self._bus.js.pull_subscribe_bind(CONSUMER, self._subjects.stream("work"))
        while not self.draining.is_set() and not self._bus.closed.is_set():
            await self._slots.acquire()
            message = await self._next(queue)
            if message is None:
                self._slots.release()
            else:
                await self._start(message)
        await asyncio.gather(*self.running.values(), return_exceptions=True)

    async def _next(self, queue: JetStreamContext.PullSubscription) -> Msg | None:
        """One message, or None after a bounded wait: an open fetch dies with its server."""
        try:
            return (await queue.fetch(1, timeout=self._settings.fetch_s))[0]
        except TimeoutError:
            return None
        except (nats.errors.Error, APIError) as error:
            log.warning("fetch_failed", error=str(error))
            await asyncio.sleep(PAUSE_S)
            return None

    async def _start(self, message: Msg) -> None:
        try:
            work = Work.model_validate_json(message.data)
        except ValidationError as error:
            delivery = message.metadata
            name = f"unreadable-{delivery.sequence.stream}.{delivery.num_delivered}"
            self._track(name, self._refuse(message, first_error(error)))
            return
        job = work.record.job
        if job in self.running:  # redelivered to us while we still run it: our claim had lapsed, our lease has not
            await message.in_progress()
            self._slots.release()
            return
        self._track(job, self._run(work, message))

    def _track(self, job: str, running: Coroutine[None, None, None]) -> None:
        """Run it beside the others; its slot is free again when it ends, however it ends."""
        task = asyncio.create_task(running)
        self.running[job] = task
        task.add_done_callback(partial(self._ended, job))

    def _ended(self, job: str, task: asyncio.Task[None]) -> None:
        del self.running[job]
        self._slots.release()
        if not task.cancelled() and task.exception() is not None:
            log.error("job_abandoned", job=job, error=repr(task.exception()))

    async def _run(self, work: Work, message: Msg) -> None:
        """One delivery of one job, up to its acknowledgement or its hand-over to the next delivery."""
        structlog.contextvars.bind_contextvars(job=work.record.job, trace=work.record.trace.split("-")[1])
        if not await self._kit.journal.may_start(work.record.job):
            await message.nak(delay=PAUSE_S)  # the resender ends it, and this message leaves with the next delivery
            return
        await self._kit.ledger.create(work.record)
        lease = await Lease.take(self._kit.ledger, work.record.job, self.name, message.metadata.sequence.stream)
        if lease.record.state.terminal:
            await self._kit.outbox.status_again(lease.record)
            await self._acknowledge(message)
            return
        log.info("job_taken", epoch=lease.record.epoch, attempt=lease.record.attempts)
        job = Job(lease, self._kit, self._directory(work.record.job), work.came_with)
        if lease.record.epoch > 1:
            await job.resume()
        try:
            outcome = await self._outcome(work, job, lease, message)
        except Drained:
            await lease.hand_back()
            await message.nak()
            log.info("job_handed_back")
        except AgentError as error:
            log.warning("job_lost", error=error.code, detail=error.detail)
        except Exception as error:
            log.warning("attempt_failed", attempt=lease.record.attempts, exc_info=error)
            await message.nak(delay=min(PAUSE_S * 2 ** (lease.record.attempts - 1), LONGEST_PAUSE_S))
        else:
            record = await job.finish(outcome)
            log.info("job_ended", state=record.state)
            await self._acknowledge(message)
            self._kit.journal.drop(record.job)

    async def _outcome(self, work: Work, job: Job, lease: Lease, message: Msg) -> Outcome:
        """What the job comes to in this delivery.

        Raises:
            AgentError: `lease_lost` or `broker_unavailable`: the job is not ours to end.
            Exception: what a handler did not foresee.
        """
        if lease.record.attempts > self._settings.attempts:
            return await self._poisonous(work, lease, message)
        if lease.record.cancel:
            return failure(lease.record, AgentError(ErrorCode.CANCELLED, "cancelled on request"))
        try:
            return await Supervisor(self._settings, job, lease, message, self.draining).watch(
                asyncio.create_task(self._work(work, job))
            )
        except AgentError as error:
            if error.code in {ErrorCode.LEASE_LOST, ErrorCode.BROKER_UNAVAILABLE}:
                raise
            if error.code is ErrorCode.DISK_FULL:
                shutil.rmtree(job.directory, ignore_errors=True)
            return failure(lease.record, error)

    async def _work(self, work: Work, job: Job) -> Outcome:
        envelope = classify(work.command.encode())
        route = self._routes.get(work.record.cmd)
        if route is None:
            raise AgentError(ErrorCode.UNKNOWN_CMD, f"this agent does not carry out {work.record.cmd}")
        with told_when_full():
            return await route.work(validated(route.command, envelope), job)

    async def _poisonous(self, work: Work, lease: Lease, message: Msg) -> Outcome:
        """Leave a dead letter of a job that ended every attempt badly."""
        tried = lease.record.attempts - 1
        detail = f"given up after {tried} attempts; the agents' logs say why each failed"
        why = DeadLetter("poison", detail, message.metadata.num_delivered)
        log.error("job_poisonous", attempts=tried)
        await self._kit.outbox.dead_letter(message.subject, work.command.encode(), message.headers, why)
        return failure(lease.record, AgentError(ErrorCode.INTERNAL, detail))

    async def _refuse(self, message: Msg, detail: str) -> None:
        """Leave a dead letter of a message that no work can be read from, and end the job that waits for it."""
        seq, head = message.metadata.sequence.stream, message.headers or {}
        log.error("work_unreadable", seq=seq, detail=detail)
        why = DeadLetter("unreadable", detail, message.metadata.num_delivered)
        await self._kit.outbox.dead_letter(message.subject, message.data, head, why)
        named = head.get(headers.JOB)
        entry = await self._kit.ledger.find(named) if named else None
        if entry is not None and entry.record.queued == seq and not entry.record.state.terminal:
            lease = await Lease.take(self._kit.ledger, entry.record.job, self.name, seq)
            job = Job(lease, self._kit, self._directory(entry.record.job), headers.NONE)
            sorry = "this agent cannot read the stored command, which is among the dead letters; send it again"
            await job.finish(failure(lease.record, AgentError(ErrorCode.INTERNAL, sorry)))
            self._kit.journal.drop(entry.record.job)
        await message.term()

    async def _acknowledge(self, message: Msg) -> None:
        """Confirmed by the broker, so that a finished job does not come back."""
        await patiently(lambda: message.ack_sync(timeout=2), self._settings.broker_patience_s)

    def _directory(self, job: str) -> Path:
        directory = self._settings.runs_dir / job
        directory.mkdir(parents=True, exist_ok=True)
        return directory
