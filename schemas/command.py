"""Commands as they arrive: `cmd` first, `respond_format` last, quantities in dialects; unknown keys are kept."""

from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from schemas.quantity import Fraction, LatencyMs, RequestsPerSecond, TokensPerSecond, Usd

Name = Field(min_length=1, max_length=256)
DEPLOYMENT_NAME = r"^[a-z][a-z0-9-]{0,30}$"
"""A deployment's name is a folder's and a program's as well."""


class RespondFormat(StrEnum):
    """How the sender wants the answer; `STRUCTURED_JSON` works for every command."""

    OPTIMIZATION_PLAN = "OPTIMIZATION_PLAN"
    PERFORMANCE_REPORT = "PERFORMANCE_REPORT"
    COST_REPORT = "COST_REPORT"
    MARKDOWN = "MARKDOWN"
    STRUCTURED_JSON = "STRUCTURED_JSON"


class Mode(StrEnum):
    """How far to go: answer with the plan, carry it out on this machine, or also move production traffic."""

    PLAN = "plan"
    RUN = "run"
    DEPLOY = "deploy"


class Part(BaseModel):
    """A piece of a command: immutable; unknown keys are kept, not refused."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)


class Command(Part):
    """What every command has."""

    cmd: str
    component_id: str | None = Field(default=None, max_length=256)
    respond_format: RespondFormat = RespondFormat.STRUCTURED_JSON


class ModelCommand(Command):
    """What every command about a model has."""

    model: str = Name


class Performance(Part):
    """Serving figures, as current values or as targets (upper limits for times, lower for rates).

    `throughput` counts requests; `throughput_tokens` counts output tokens; times are per request or per token.
    """

    latency_p50: LatencyMs | None = None
    latency_p95: LatencyMs | None = None
    latency_p99: LatencyMs | None = None
    ttft_p50: LatencyMs | None = None
    ttft_p95: LatencyMs | None = None
    ttft_p99: LatencyMs | None = None
    tpot_p50: LatencyMs | None = None
    tpot_p95: LatencyMs | None = None
    throughput: RequestsPerSecond | None = None
    throughput_tokens: TokensPerSecond | None = None


class CurrentPerformance(Performance):
    """What the sender measures today, with the conditions if known: evidence about the workload."""

    gpu_util: Fraction | None = None
    cost_monthly: Usd | None = None
    hardware: str | None = Field(default=None, max_length=256)
    engine: str | None = Field(default=None, max_length=64)
    weight_format: str | None = Field(default=None, max_length=64)


class Constraints(Part):
    """Hard limits of a plan."""

    max_quality_loss: Fraction = 0.02
    hardware: str | tuple[str, ...] = "any"
    budget_monthly: Usd | None = None
    engines: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    price_kind: Literal["on-demand", "reserved", "spot"] = "on-demand"


class Workload(Part):
    """The traffic to plan for; what is absent is assumed, and the plan says so."""

    input_tokens: PositiveInt | None = None
    output_tokens: PositiveInt | None = None
    request_rate: RequestsPerSecond | None = None
    """Mean arrivals, Poisson; the throughput target where absent."""
    concurrency: PositiveInt | None = None
    shared_prefix_tokens: int = Field(default=0, ge=0)
    batch_job: bool = False
    """Everything is queued at once and only the total time matters."""


class VersusSpec(Part):
    """Two releases side by side at fixed shares, until one is faster by enough, or neither is."""

    share: Fraction = Field(default=0.5, gt=0, lt=1)
    """Of the requests, to the new release; a session (`Acp-Session`) always meets the same one."""
    min_effect: Fraction = Field(default=0.05, gt=0, lt=1)
    """Relative difference of latency (geometric means) below which a difference does not matter."""
    requests: int = Field(default=2000, ge=10, le=1_000_000)
    """Of the new release, after which the comparison stops undecided."""


class QualityWatch(Part):
    """How what serves goes on being judged: windows of sampled live prompts, held against the untouched model."""

    share: Fraction = Field(default=0.05, gt=0, le=1)
    """Of the requests, whose prompts are sampled until a window has enough."""
    tokens: int = Field(default=4096, ge=1024, le=1_000_000)
    """Scored tokens of one window at the most."""
    pause_s: float = Field(default=3600.0, ge=0, le=30 * 86_400)
    """Between a window's verdict and the next window."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of all windows of a release together: that none of them is wrong."""
    rollback: bool = False
    """Whether a breach gives all requests to the release before, which was not judged on these prompts."""


class RolloutSpec(Part):
    """How a new release takes over. What a sender leaves out is as here."""

    steps: tuple[Fraction, ...] = Field(default=(0.01, 0.05, 0.25, 0.5, 1.0), min_length=1, max_length=20)
    """Shares of the requests that the new release gets, rising, the last one all."""
    requests: int = Field(default=50, ge=1, le=100_000)
    """Of the new release, that a step needs at the least."""
    hold_limit_s: float = Field(default=3600.0, gt=0, le=7 * 86_400)
    """A step that is not decided by then is rolled back: undecided never passes."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of each verdict, over all looks at it together."""
    shadow_requests: int = Field(default=0, ge=0, le=10_000)
    """Live requests that the new release answers before it gets any: nobody sees those answers."""
    latency_p95: LatencyMs | None = None
    """Milliseconds at the gateway; where absent, what the old release shows plus `slower`."""
    slower: Fraction = 0.25
    """How much slower than the old release the new one's p95 may be where no latency is asked for."""
    max_errors: Fraction = 0.01
    """Share of failed requests."""
    compare: VersusSpec | None = None
    """Compare instead of going by steps: the new release takes over only if it is faster."""
    judge_quality: bool = True
    """Whether live prompts are sampled and replayed against the baseline; they stay in the deployment's folder."""
    quality_tokens: int = Field(default=8192, ge=1024, le=1_000_000)
    """Scored tokens of live prompts after which an undecided gate stays so."""
    watch: QualityWatch | None = QualityWatch()
    """How what serves in the end goes on being judged; null switches it off."""

    @model_validator(mode="after")
    def _rises_to_all(self) -> Self:
        if list(self.steps) != sorted(set(self.steps)) or self.steps[0] <= 0 or self.steps[-1] != 1:
            raise ValueError("steps must rise, and the last one must be 1 (all requests)")
        return self


class OptimizeInference(ModelCommand):
    """Make a model meet its targets within its constraints."""

    cmd: Literal["OPTIMIZE_INFERENCE"]
    current_perf: CurrentPerformance = CurrentPerformance()
    targets: Performance = Performance()
    constraints: Constraints = Constraints()
    workload: Workload = Workload()
    mode: Mode | None = None
    """`run` where weights and hardware are at hand, else `plan`."""
    deployment: str | None = Field(default=None, pattern=DEPLOYMENT_NAME)
    """What mode `deploy` puts the result into; named after the model where absent."""
    rollout: RolloutSpec = RolloutSpec()
