"""What each command for one part of the loop comes to: performance, quality, a comparison, a cost."""

from enum import StrEnum

from pydantic import PositiveInt

from schemas.artifact import Artifact
from schemas.base import Record
from schemas.delegation import HandoffOutcome, Rendering
from schemas.evidence import Estimate
from schemas.hardware import HostFacts
from schemas.measurement import GateDecision, LoadLevel, LoadReport, TaskComparison
from schemas.plan import Assumption, Candidate, PlannedWorkload, Strategy
from schemas.report import Comparison
from schemas.status import JobState


class Finding(Record):
    """What all of them say."""

    job: str
    cmd: str
    model: str
    state: JobState
    sentence: str
    """The verdict in one sentence."""
    conditions: tuple[str, ...]
    """The machine, what else ran on it, and the load: no figure holds without them."""
    host: HostFacts


class PerformanceReport(Finding):
    """One strategy under load: `BASELINE_ASSESSMENT` and `BENCHMARK_INFERENCE`."""

    strategy: Strategy
    load: LoadReport
    bottleneck: str | None = None
    """`compute` or `memory`, with the figures behind it, where the plan knows the format."""
    comparisons: tuple[Comparison, ...] = ()
    """Predicted against measured."""
    assumptions: tuple[Assumption, ...] = ()
    baseline_note: str = ""
    handoffs: tuple[HandoffOutcome, ...] = ()
    plots: tuple[str, ...] = ()
    hash: str = "performance_v1"


class QualityReport(Finding):
    """One candidate against its baseline: `QUANTIZE_MODEL` and `EVALUATE_QUALITY`."""

    candidate: str
    gate: GateDecision
    artifact: Artifact | None = None
    """What was made, where this job made it."""
    tasks: tuple[TaskComparison, ...] = ()
    """Scores on tasks; the gate does not look at them."""
    comparisons: tuple[Comparison, ...] = ()
    plots: tuple[str, ...] = ()
    """Files in the job's directory."""
    baseline_note: str
    handoffs: tuple[HandoffOutcome, ...] = ()
    hash: str = "quality_v1"


class RenderedReport(Record):
    """A method that needs hardware which is not here: `QUANTIZE_MODEL` then renders, checks and hands on, no more."""

    job: str
    cmd: str
    model: str
    state: JobState
    sentence: str
    weight_format: str
    rendering: Rendering
    handoffs: tuple[HandoffOutcome, ...] = ()
    hash: str = "rendered_v1"


class PairVerdict(StrEnum):
    """`no_difference`: the interval of the ratio holds 1, so this load shows none."""

    FASTER = "faster"
    SLOWER = "slower"
    NO_DIFFERENCE = "no_difference"


class PairedRatio(Record):
    """One metric of a contender over the first strategy's, paired round by round."""

    metric: str
    ratio: Estimate
    verdict: PairVerdict


class Contender(Record):
    """One strategy of a comparison: its rounds under the same load, and what it lost."""

    strategy: Strategy
    rounds: tuple[LoadLevel, ...]
    gate: GateDecision | None = None
    """None for the untouched model."""
    against_first: tuple[PairedRatio, ...] = ()
    verdict: PairVerdict | None = None
    """By requests per second; None for the first."""


class ComparisonReport(Finding):
    """Strategies side by side under one load, interleaved: `COMPARE_STRATEGIES`."""

    input_tokens: PositiveInt
    output_tokens: PositiveInt
    contenders: tuple[Contender, ...]
    baseline_note: str
    hash: str = "comparison_v1"


class PredictedPerformance(Record):
    """A plan's figures alone: what `PERFORMANCE_REPORT` shows of it."""

    model: str
    hardware: str
    workload: PlannedWorkload
    sentence: str
    bottleneck: str
    baseline: Candidate
    strategies: tuple[Candidate, ...]
    """In the order in which they would be tried."""
    assumptions: tuple[Assumption, ...]
    hash: str = "performance_v1"


class CostOption(Record):
    """One way to pay for one strategy. US dollars; the evidence is in each figure."""

    strategy: str
    kind: str
    """`on-demand`, `reserved`, `spot`, `owned`, or `today` for what the sender pays now."""
    monthly: Estimate
    per_1k_requests: Estimate | None = None
    per_1m_tokens: Estimate | None = None
    total_12_months: Estimate
    total_36_months: Estimate
    source: str


class CostReport(Record):
    """The answer to `COST_ANALYSIS`."""

    model: str
    sentence: str
    options: tuple[CostOption, ...]
    """Cheapest first."""
    assumptions: tuple[Assumption, ...]
    hash: str = "cost_v1"
