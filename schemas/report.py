"""A run's report: verdict, what was tried with predicted against measured, gate, cost, conditions, how to undo it."""

import math
from enum import StrEnum

from pydantic import NonNegativeInt

from schemas.artifact import Artifact
from schemas.base import Record
from schemas.delegation import HandoffOutcome
from schemas.evidence import Estimate
from schemas.hardware import HostFacts
from schemas.measurement import GateDecision, LoadReport
from schemas.plan import Assumption, Candidate, Plan
from schemas.status import JobState


class Comparison(Record):
    """One metric of one trial: what the plan said at the time, and what came out."""

    metric: str
    predicted: Estimate
    measured: Estimate

    @property
    def error(self) -> float | None:
        """(predicted - measured) / measured; None where nothing was measured to divide by."""
        if not self.measured.value:
            return None
        return (self.predicted.value - self.measured.value) / self.measured.value

    @property
    def covered(self) -> bool:
        """Whether the two intervals share a value."""
        return self.predicted.low <= self.measured.high and self.measured.low <= self.predicted.high


class Learned(Record):
    """One metric of one trial: what the first plan said, what a plan corrected by measurements said, and what came out.

    Speeds only: a loss is replaced where it was measured, never shifted.
    """

    strategy: str
    metric: str
    first: Estimate
    corrected: Estimate
    measured: Estimate

    @property
    def error_first(self) -> float:
        """Of the first plan: |ln(predicted / measured)|."""
        return abs(math.log(self.first.value / self.measured.value))

    @property
    def error_corrected(self) -> float:
        """Of the plan that the trial was taken from."""
        return abs(math.log(self.corrected.value / self.measured.value))


class TrialOutcome(StrEnum):
    """What became of a candidate that was tried."""

    MET = "met"
    MISSED_QUALITY = "missed_quality"
    MISSED_TARGET = "missed_target"
    FAILED = "failed"


class Trial(Record):
    """One candidate, tried: built, judged, and where it passed the gate also served and loaded."""

    candidate: Candidate
    outcome: TrialOutcome
    sentence: str
    artifact: Artifact | None = None
    gate: GateDecision | None = None
    load: LoadReport | None = None
    comparisons: tuple[Comparison, ...] = ()


class Line(Record):
    """One target or constraint with what was measured for it and under which conditions."""

    name: str
    limit: str
    measured: Estimate | None
    met: bool
    conditions: str


class BeforeAfter(Record):
    """One metric of the baseline and of the chosen strategy under the same load."""

    metric: str
    before: Estimate
    after: Estimate
    lower_is_better: bool


class Cost(Record):
    """US dollars at the plan's price, or the reason why there is none."""

    monthly: Estimate | None
    per_1k_requests: Estimate | None
    per_1m_tokens: Estimate | None
    sentence: str


class ConsideredEngine(Record):
    """An engine of this machine that the request allows; considered where none of its toolchains is missing."""

    engine: str
    missing: tuple[str, ...] = ()


class Report(Record):
    """Everything a person or a program needs to act on a run, and to doubt it."""

    job: str
    model: str
    state: JobState
    sentence: str
    """The verdict in one sentence."""
    actions: tuple[str, ...]
    lines: tuple[Line, ...]
    before_after: tuple[BeforeAfter, ...]
    chosen: str | None
    recommended: NonNegativeInt | None
    """Which of the trials, where the untouched model is not the better choice."""
    hash: str
    host: HostFacts
    conditions: tuple[str, ...]
    baseline: LoadReport
    baseline_comparisons: tuple[Comparison, ...]
    baseline_note: str
    engines: tuple[ConsideredEngine, ...] = ()
    trials: tuple[Trial, ...]
    learned: tuple[Learned, ...] = ()
    not_tried: tuple[str, ...]
    plan: Plan
    cost: Cost
    assumptions: tuple[Assumption, ...]
    handoffs: tuple[HandoffOutcome, ...]
    artifacts: tuple[Artifact, ...]
    plots: tuple[str, ...]
    handover: tuple[str, ...] = ()
    """Pages for operators in the job's folder: how to deploy what is recommended, and what to do at each alert."""
    reproduce: tuple[str, ...]
    undo: str

    @property
    def best(self) -> Trial | None:
        """The trial that is recommended."""
        return None if self.recommended is None else self.trials[self.recommended]

    @property
    def summary(self) -> str:
        """The verdict, for a terminal status."""
        return self.sentence
