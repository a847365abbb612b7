"""Commands for one part of the loop each: measure, compress, load-test, score, price, compare."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.command import Constraints, CurrentPerformance, ModelCommand, Name, Part, Performance, Workload
from schemas.measurement import Generator
from schemas.quantity import Fraction, RequestsPerSecond

FinishedJob = Field(default=None, pattern=r"^job-[a-z2-7]{20}$")
"""A job of this agent whose files are meant instead of the models at hand."""


class BaselineAssessment(ModelCommand):
    """Measure the untouched model on this machine, and say what bounds it."""

    cmd: Literal["BASELINE_ASSESSMENT"]
    workload: Workload = Workload()
    profile: bool = False
    """Sample where the engine spends its time, after the load."""


class QuantizeModel(ModelCommand):
    """Compress a model by a named method, judge it, and keep the result."""

    cmd: Literal["QUANTIZE_MODEL"]
    method: str = Field(min_length=1, max_length=64)
    """A weight format such as `Q5_K_M`, with `+imatrix` where an importance matrix is to weigh it."""
    constraints: Constraints = Constraints()


class TracedRequest(Part):
    """One request of a trace: seconds since the first one, and its tokens."""

    at_s: float = Field(ge=0, le=86_400)
    input_tokens: int = Field(ge=1, le=131_072)
    output_tokens: int = Field(ge=1, le=16_384)


class LoadShape(Part):
    """The load itself; what is left out is as a plan for this machine would assume."""

    concurrency: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field(default=(), max_length=16)
    """Numbers of requests always open, a level each."""
    rates: tuple[RequestsPerSecond, ...] = Field(default=(), max_length=16)
    """Requests per second, a level each."""
    evenly: bool = False
    """Whether `rates` come evenly spaced instead of as Poisson arrivals."""
    requests: int | None = Field(default=None, ge=1, le=10_000)
    """Of each level."""
    trace: tuple[TracedRequest, ...] = Field(default=(), max_length=2000)
    """Requests to replay, as a level of their own."""
    stress: bool = False
    """Raise the rate until `targets` break: needs at least one time among them."""
    soak_minutes: float = Field(default=0, ge=0, le=24 * 60)
    """Keep the last concurrency up for so long, and say how memory grew."""
    timeout_s: float = Field(default=120, gt=0, le=3600)
    """Seconds after which a request is given up and counted as timed out."""
    generator: Generator | None = None
    """`guidellm` (a toolchain) or `built-in`; the agent's setting where absent."""


class BenchmarkInference(ModelCommand):
    """Load-test a model's file as it is."""

    cmd: Literal["BENCHMARK_INFERENCE"]
    engine: str | None = Field(default=None, max_length=64)
    job: str | None = FinishedJob
    """Where `model` is the name of a file that this job made."""
    workload: Workload = Workload()
    load: LoadShape = LoadShape()
    targets: Performance = Performance()
    """Times that each request may take: those that keep to them are counted (goodput). p95 before p99 before p50."""
    profile: bool = False
    """Sample where the engine spends its time, after the load."""


class EvaluateQuality(ModelCommand):
    """Score a candidate against its baseline and let the gate decide."""

    cmd: Literal["EVALUATE_QUALITY"]
    candidate: str = Name
    """A model at hand, the name of a file that `job` made, or of a model that the agent's settings say is served."""
    job: str | None = FinishedJob
    tasks: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = Field(default=(), max_length=8)
    """Tasks to run besides: `wiki_next_sentence`, `wiki_last_word`, or a standard one that the user has items for."""
    constraints: Constraints = Constraints()


class CostAnalysis(ModelCommand):
    """Price a plan, what a job measured, or what the sender pays today."""

    cmd: Literal["COST_ANALYSIS"]
    current_perf: CurrentPerformance = CurrentPerformance()
    targets: Performance = Performance()
    constraints: Constraints = Constraints()
    workload: Workload = Workload()
    job: str | None = FinishedJob
    """The job whose measured throughput is to be priced."""
    utilisation: Fraction = Field(default=1.0, gt=0, le=1)
    """Share of capacity that is in use, on average around the clock; a rate that is asked for goes before it."""
    usd_per_kwh: float = Field(default=0.20, ge=0, le=10)
    """Price of power for hardware of one's own."""


class CompareStrategies(ModelCommand):
    """Set weight formats of a model side by side under one load; each is held against the first."""

    cmd: Literal["COMPARE_STRATEGIES"]
    strategies: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = Field(min_length=2, max_length=6)
    """Weight formats such as `F16` (the untouched model), `Q8_0` or `Q4_K_M+imatrix`."""
    constraints: Constraints = Constraints()
    workload: Workload = Workload()
