"""One job's workbench: the model, the host, the texts and the tools, and how the job speaks of its progress."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog
from pydantic import BaseModel

from executors.measure.load import measure
from executors.serve import llamacpp
from executors.texts import Texts
from executors.toolchain import Toolchain
from executors.worker import Progress, Workbench
from handlers.context import JobContext
from handlers.workshop import Workshop
from schemas.artifact import Artifact
from schemas.command import OptimizeInference
from schemas.error import AgentError, ErrorCode
from schemas.hardware import HostFacts
from schemas.measurement import Arrivals, GateDecision, LevelSpec, LoadLevel, LoadReport, LoadSpec
from schemas.plan import PlannedWorkload, StepKind, Strategy
from schemas.status import InferenceStatus, JobState, StatusMetrics, StatusQuality

R = TypeVar("R", bound=BaseModel)
log = structlog.get_logger()
SPEAK_S = 3.0
PROMPTS = 32
CHARACTERS_PER_TOKEN = 12
"""More than English text has, so that the prompts never run short."""


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
    command: OptimizeInference
    job: JobContext
    workshop: Workshop
    tools: Toolchain
    texts: Texts
    host: HostFacts
    base: Path
    """The F16 weights that every candidate is made from and held against."""
    made: Artifact
    """How the base was made, and from what: a quantized source has lost something already."""

    @property
    def threads(self) -> int:
        """Engine threads at the most: the cores that were idle, within the workshop's own limit, at least one."""
        idle = round(self.host.cores - self.host.busy_cores)
        return max(1, min(idle, self.workshop.effort.max_threads or idle))

    async def step(self, name: str, result: type[R], work: Callable[[], Awaitable[R]]) -> R:
        """A journaled step whose result holds on this machine only: another that takes the job over does it again."""
        return await self.job.step(f"{name}-{self.place}", result, work)

    def log(self, name: str) -> Path:
        """Where a tool's words are kept."""
        return self.job.directory / "logs" / f"{name}.log"

    async def load(
        self, strategy: Strategy, weights: Path, workload: PlannedWorkload, name: str, stage: Stage
    ) -> LoadReport:
        """Serve `weights` as `strategy` says and put the plan's load on it; an update after every level."""
        phase = StepKind.BASELINE if weights == self.base else StepKind.VALIDATION

        async def after(level: LoadLevel) -> None:
            detail = f"{level.arrivals.value} {level.setting:.3g}: {level.throughput_rps.value:.2f} requests/s"
            await self.say(phase, stage, detail, metrics=metrics_of(level))

        log = self.log(f"serve-{name}")
        async with llamacpp.serve(strategy, weights, python=self.tools.python, log=log) as endpoint:
            length = workload.input_tokens
            text = self.texts.calibration.path.read_text(encoding="utf-8")[: PROMPTS * length * CHARACTERS_PER_TOKEN]
            ids = await llamacpp.tokens(endpoint, text)
            prompts = [ids[start : start + length] for start in range(0, len(ids) - length + 1, length)][:PROMPTS]
            if not prompts:
                detail = (
                    f"{self.texts.calibration.name} is shorter than a prompt of {length} tokens; name a longer text"
                )
                raise AgentError(ErrorCode.UNSUPPORTED, detail)
            return await measure(
                endpoint,
                prompts,
                self._spec(strategy, workload),
                strategy=strategy.label,
                rows=self.job.directory / f"load-{name}.jsonl",
                on_level=after,
            )

    def _spec(self, strategy: Strategy, workload: PlannedWorkload) -> LoadSpec:
        """One, half as many and as many open requests as the strategy has slots, then Poisson at the plan's rate."""
        effort = self.workshop.effort
        slots = strategy.max_sequences
        closed = [
            LevelSpec(
                arrivals=Arrivals.CONCURRENCY,
                setting=open_requests,
                requests=max(2 * open_requests, effort.requests // 2),
                limit_s=effort.level_limit_s,
            )
            for open_requests in sorted({1, max(1, slots // 2), slots})
        ]
        poisson = LevelSpec(
            arrivals=Arrivals.POISSON,
            setting=workload.request_rate,
            requests=effort.requests,
            limit_s=effort.level_limit_s,
        )
        return LoadSpec(
            input_tokens=workload.input_tokens,
            output_tokens=workload.output_tokens,
            warmup_requests=effort.warmup,
            levels=(*closed, poisson),
        )

    @contextlib.asynccontextmanager
    async def tool(self, phase: StepKind, stage: Stage, name: str) -> AsyncIterator[Workbench]:
        """How a worker runs, with its progress published every few seconds while the body lasts."""
        last: list[Progress] = []

        async def speak() -> None:
            while True:
                await asyncio.sleep(SPEAK_S)
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
            yield Workbench(self.tools, self.threads, self.log(name), last.append)
        finally:
            speaker.cancel()
            await asyncio.gather(speaker, return_exceptions=True)

    async def say(
        self,
        phase: StepKind,
        stage: Stage,
        detail: str,
        *,
        metrics: StatusMetrics | None = None,
        quality: StatusQuality | None = None,
    ) -> None:
        """Publish an update."""
        status = InferenceStatus(
            state=JobState.RUNNING,
            phase=phase,
            optimization=stage.label,
            detail=detail,
            progress=round(stage.progress, 2),
            metrics=metrics,
            quality=quality,
        )
        await self.job.report(status, stage.version)


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
