"""Updates on the wire: `{"inference_status":{…},"hash":"inf_opt_v1"}`, as the family writes them."""

from enum import StrEnum

from schemas.base import Record
from schemas.plan import StepKind


class JobState(StrEnum):
    """A job's life; the last four are terminal, and exactly one of them is reached."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    COMPLETED = "completed"
    NOT_MET = "not_met"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether nothing follows."""
        return self in {JobState.COMPLETED, JobState.NOT_MET, JobState.FAILED, JobState.CANCELLED}

    @property
    def met(self) -> bool:
        """Whether the job did all that it set out to do, whatever it found."""
        return self in {JobState.COMPLETED, JobState.NOT_MET}


class StatusMetrics(Record):
    """Measured figures of the strategy named in `optimization`; absent until measured."""

    latency_p50: float | None = None
    latency_p95: float | None = None
    latency_p99: float | None = None
    ttft_p50: float | None = None
    ttft_p95: float | None = None
    throughput_rps: float | None = None
    output_tokens_s: float | None = None
    gpu_util: float | None = None
    cpu_util: float | None = None


class StatusQuality(Record):
    """The gate's figures; `perplexity_delta` is relative to the baseline."""

    perplexity_delta: float
    perplexity_delta_high: float
    kl: float
    gate: str


class InferenceStatus(Record):
    """What is being done, how far it is, and what was measured so far."""

    state: JobState
    phase: StepKind | None = None
    optimization: str
    detail: str = ""
    progress: float | None = None
    """0 to 1 over the whole job."""
    metrics: StatusMetrics | None = None
    quality: StatusQuality | None = None
    cost_per_1k: float | None = None
    error: str | None = None


class StatusUpdate(Record):
    """The message itself; `hash` is a label of the strategy's version and comes last."""

    inference_status: InferenceStatus
    hash: str
