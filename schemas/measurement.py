"""What was measured: load, latency percentiles, resources, quality and the gate's decision."""

from enum import StrEnum

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from schemas.base import Record
from schemas.evidence import Estimate
from schemas.resources import Profile, Resources
from schemas.status import JobState


class Percentiles(Record):
    """Milliseconds over completed requests, each with its bootstrap interval."""

    p50: Estimate
    p95: Estimate
    p99: Estimate


class RequestRow(Record):
    """One request of a load test. Times in milliseconds; `start_ms` since the level began."""

    index: NonNegativeInt
    start_ms: float
    prompt_tokens: NonNegativeInt
    output_tokens: NonNegativeInt
    cached_tokens: NonNegativeInt = 0
    """Of the prompt, those that the engine had from an earlier request."""
    ttft_ms: float | None
    tpot_ms: float | None
    """Time between tokens after the first one."""
    latency_ms: float | None
    error: str | None = None
    timed_out: bool = False


class Arrivals(StrEnum):
    """How requests come: a fixed number always open, at a rate (Poisson or evenly spaced), or as a trace says."""

    CONCURRENCY = "concurrency"
    POISSON = "poisson"
    CONSTANT = "constant"
    TRACE = "trace"


class Generator(StrEnum):
    """What puts the load on: a light client of our own, or guidellm out of its toolchain."""

    BUILT_IN = "built-in"
    GUIDELLM = "guidellm"


class TraceEntry(Record):
    """One request of a trace: when it comes, in seconds since the first one, and its tokens."""

    at_s: NonNegativeFloat
    input_tokens: PositiveInt
    output_tokens: PositiveInt


class Sla(Record):
    """What one request may take, in milliseconds; a request that keeps to all of it is a good one (goodput)."""

    ttft_ms: float | None = None
    tpot_ms: float | None = None
    latency_ms: float | None = None

    @property
    def given(self) -> bool:
        """Whether anything is asked."""
        return (self.ttft_ms, self.tpot_ms, self.latency_ms) != (None, None, None)

    def kept(self, row: RequestRow) -> bool:
        """Whether a request completed within all of it; one token has no time between tokens to exceed."""
        asked = ((self.ttft_ms, row.ttft_ms), (self.tpot_ms, row.tpot_ms), (self.latency_ms, row.latency_ms))
        return row.error is None and all(limit is None or (took or 0.0) <= limit for limit, took in asked)


class LevelSpec(Record):
    """One level of load to run: `setting` open requests or requests per second, until `requests` or `limit_s`."""

    arrivals: Arrivals
    setting: float
    requests: PositiveInt
    limit_s: float = 60.0
    trace: tuple[TraceEntry, ...] = ()
    """The requests themselves, where a trace is replayed."""


class LoadSpec(Record):
    """A load test: lengths in tokens, warm-up first, then each level with its own derived seed."""

    input_tokens: PositiveInt
    output_tokens: PositiveInt
    shared_prefix_tokens: NonNegativeInt = 0
    """Of the input, those that every prompt begins with."""
    warmup_requests: PositiveInt = 2
    timeout_s: PositiveFloat = 120.0
    """After which a request is given up and counted as timed out."""
    seed: int = 1
    levels: tuple[LevelSpec, ...]
    sla: Sla = Sla()
    generator: Generator = Generator.BUILT_IN


class SteadyPart(Record):
    """The part of a level without its ramps, in seconds since the level began.

    It begins once the first wave has been answered (as many requests as are open at once; the first one where they
    come at a rate) and ends when the last request is sent: from then on fewer are open than should be.
    """

    from_s: NonNegativeFloat
    until_s: NonNegativeFloat
    completed: PositiveInt
    """Requests that were answered within it."""


class LoadLevel(Record):
    """One level of load and what came out. Rates and percentiles are of `steady`, of the whole where it is None."""

    arrivals: Arrivals
    setting: float
    """Open requests, or requests per second."""
    seed: int
    duration_s: NonNegativeFloat
    requests: NonNegativeInt
    completed: NonNegativeInt
    errors: NonNegativeInt
    """Requests that failed, those that timed out apart."""
    timeouts: NonNegativeInt = 0
    steady: SteadyPart | None = None
    throughput_rps: Estimate
    output_tokens_s: Estimate
    ttft: Percentiles | None
    tpot: Percentiles | None
    latency: Percentiles | None
    goodput_rps: Estimate | None = None
    """Requests per second that kept to the SLA; None where none was given."""
    attained: NonNegativeFloat | None = None
    """Share of all requests sent that kept to the SLA, the ramps included; None where none was given."""
    cached_share: NonNegativeFloat = 0.0
    """Share of all prompt tokens that the engine had from earlier requests."""
    resources: Resources

    @property
    def failed(self) -> int:
        """Requests without an answer, for whatever reason."""
        return self.errors + self.timeouts


class Knee(Record):
    """Where a rising rate broke what was asked: requests per second, and which part of it."""

    held: float | None
    """The highest rate that kept to it; None where the first one did not."""
    broke: float | None
    """The first rate that did not; None where the test ended before."""
    why: str


class LoadReport(Record):
    """All levels run against one engine, with the conditions."""

    strategy: str
    input_tokens: PositiveInt
    output_tokens: PositiveInt
    shared_prefix_tokens: NonNegativeInt = 0
    prefix_caching: bool = False
    warmup_requests: NonNegativeInt
    generator: str = "the built-in client"
    """With its version where it is a tool."""
    ready_s: NonNegativeFloat
    """From start of the engine's process until it answered its health check."""
    levels: tuple[LoadLevel, ...]
    knee: Knee | None = None
    """Where the rate was raised until the SLA broke."""
    profile: Profile | None = None


class GateVerdict(StrEnum):
    """`undecided` never passes."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"

    @property
    def state(self) -> JobState:
        """How a job ends that asked for nothing else."""
        return JobState.COMPLETED if self is GateVerdict.PASSED else JobState.NOT_MET


class PositionQuality(Record):
    """Scored tokens from one place of every chunk on: nats per token, candidate minus baseline, and what else differs.

    `start` counts tokens of context before the first of them; `standard_error` is that of the difference over chunks.
    """

    start: NonNegativeInt
    tokens: PositiveInt
    nll_difference: float
    standard_error: NonNegativeFloat
    kl: float
    top1: float


class ServedModel(Record):
    """A model at an OpenAI-compatible endpoint that tells log-probabilities of a prompt: URL, and its name there."""

    url: str
    model: str

    @property
    def stem(self) -> str:
        """The name as a file may have it: without an organisation."""
        return self.model.rsplit("/", 1)[-1]


class QualityMeasurement(Record):
    """A candidate against the baseline on the same tokens, paired.

    `loss` is (perplexity - baseline perplexity) / baseline perplexity with a time-uniform confidence interval;
    KL divergence in nats per token; `top1` the share of tokens whose likeliest successor agrees.
    """

    tokens: PositiveInt
    baseline_perplexity: float
    perplexity: float
    loss: float
    loss_low: float
    loss_high: float
    confidence: float
    kl: float
    kl_low: float
    kl_high: float
    kl_is_bound: bool = False
    """Whether the candidate told only its likeliest tokens: `kl` is then a lower bound."""
    top1: float
    positions: tuple[PositionQuality, ...] = ()
    """By place in the chunk: whether what is lost grows with the context."""
    text: str
    """Which evaluation text, by name and digest."""


class TaskComparison(Record):
    """One metric of one task, candidate against baseline on the same items; larger is better.

    `acc` and `acc_norm` are shares of items answered rightly, `loglikelihood` is nats of the whole answer.
    `standard_error` is that of the difference, paired by item; `low` and `high` bound the difference at 95 %.
    """

    task: str
    metric: str
    items: PositiveInt
    baseline: float
    candidate: float
    difference: float
    standard_error: NonNegativeFloat
    low: float
    high: float
    source: str
    """Where the items come from."""


class GateDecision(Record):
    """Whether a candidate may be recommended: only when the interval's upper end is within the limit."""

    verdict: GateVerdict
    limit: float
    quality: QualityMeasurement
    sentence: str
