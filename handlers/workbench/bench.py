"""One job's workbench: the model, the host, the texts and the tools, and how the job speaks of its progress."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog
from pydantic import BaseModel

from executors.texts import Texts
from executors.toolchain import Toolchain
from executors.worker import Progress, Workbench
from handlers.context import JobContext
from handlers.workshop import Workshop
from schemas.error import AgentError
from schemas.hardware import HostFacts
from schemas.measurement import GateDecision, LoadLevel
from schemas.plan import StepKind
from schemas.status import InferenceStatus, JobState, StatusMetrics, StatusQuality

R = TypeVar("R", bound=BaseModel)
log = structlog.get_logger()
SPEAK_S = 3.0


@dataclass(frozen=True)
class Stage:
    """Where a job is: the strategy's version (`inf_opt_v2`), its label, and the share of the job behind it."""

    version: str
    label: str
    progress: float


@dataclass(frozen=True)
class Bench:
    """What a job has at hand once it is prepared."""

    agent: str
    place: str
    """This machine's identity."""
    model: str
    """As the sender named it."""
    source: Path
    """The file of that model."""
    job: JobContext
    workshop: Workshop
    tools: Toolchain
    texts: Texts
    host: HostFacts

    @property
    def threads(self) -> int:
        """Engine threads at the most: the cores that were idle, within the workshop's own limit, at least one."""
        idle = round(self.host.cores - self.host.busy_cores)
        return max(1, min(idle, self.workshop.effort.max_threads or idle))

    @property
    def idle_host(self) -> HostFacts:
        """The host as a plan for this job should see it: only the threads that it may use."""
        return self.host.model_copy(update={"cores": self.threads})

    async def step(self, name: str, result: type[R], work: Callable[[], Awaitable[R]]) -> R:
        """A journaled step whose result holds on this machine only: another that takes the job over does it again."""
        return await self.job.step(f"{name}-{self.place}", result, work)

    def log(self, name: str) -> Path:
        """Where a tool's words are kept."""
        return self.job.directory / "logs" / f"{name}.log"

    @contextlib.asynccontextmanager
    async def tool(
        self, phase: StepKind, stage: Stage, name: str, tools: Toolchain | None = None
    ) -> AsyncIterator[Workbench]:
        """How a worker runs, with its progress published every few seconds while the body lasts.

        It runs in `tools`, by default llama.cpp's.
        """
        last: list[Progress] = []
        over = asyncio.Event()

        async def speak() -> None:
            while not await _set_within(over, SPEAK_S):
                if last:
                    now = last.pop()
                    last.clear()
                    detail = f"{name}: {now.done} of {now.total} {now.detail}"
                    try:
                        await self.say(phase, stage, detail)
                    except AgentError as error:
                        log.warning("progress_not_published", error=error.detail)
                        return

        speaker = asyncio.create_task(speak())
        try:
            yield Workbench(tools or self.tools, self.threads, self.log(name), last.append, self.workshop.limits)
        finally:
            # Not cancelled: while it publishes, asyncio.wait_for may swallow that before Python 3.12.
            over.set()
            await speaker

    async def say(
        self,
        phase: StepKind,
        stage: Stage,
        detail: str,
        *,
        level: LoadLevel | None = None,
        gate: GateDecision | None = None,
    ) -> None:
        """Publish an update."""
        status = InferenceStatus(
            state=JobState.RUNNING,
            phase=phase,
            optimization=stage.label,
            detail=detail,
            progress=round(stage.progress, 2),
            metrics=level and metrics_of(level),
            quality=gate and quality_of(gate),
        )
        await self.job.report(status, stage.version)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def metrics_of(level: LoadLevel) -> StatusMetrics:
    """One level's figures as the wire shows them."""
    return StatusMetrics(
        latency_p50=level.latency and level.latency.p50.value,
        latency_p95=level.latency and level.latency.p95.value,
        latency_p99=level.latency and level.latency.p99.value,
        ttft_p50=level.ttft and level.ttft.p50.value,
        ttft_p95=level.ttft and level.ttft.p95.value,
        throughput_rps=level.throughput_rps.value,
        output_tokens_s=level.output_tokens_s.value,
        gpu_util=level.resources.gpu_util,
        cpu_util=level.resources.cpu_util,
    )


def quality_of(gate: GateDecision) -> StatusQuality:
    """The gate's figures as the wire shows them."""
    return StatusQuality(
        perplexity_delta=gate.quality.loss,
        perplexity_delta_high=gate.quality.loss_high,
        kl=gate.quality.kl,
        gate=gate.verdict.value,
    )
