"""Production: releases behind one gateway, a rollout from one to the next step by step, and how it was judged."""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from schemas.base import Record
from schemas.command import DEPLOYMENT_NAME
from schemas.evidence import Estimate
from schemas.exposure import CacheFigures
from schemas.measurement import GateDecision, GateVerdict, Percentiles
from schemas.plan import Strategy
from schemas.sampling import Drift, Sampling
from schemas.traffic import Burn, RequestSeen, SenderCost

Port = Annotated[int, Field(ge=1, le=65535)]


class Slot(StrEnum):
    """The two places of a gateway: one holds what serves everybody, the other what is being tried."""

    BLUE = "blue"
    GREEN = "green"

    @property
    def other(self) -> "Slot":
        """The place beside this one."""
        return Slot.GREEN if self is Slot.BLUE else Slot.BLUE


class Replica(Record):
    """One engine of a release, under a supervisor; it comes back at the same port of loopback after a crash."""

    name: str
    """As the supervisor and the gateway know it: `blue-1`."""
    port: Port

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"


class Release(Record):
    """One strategy with its weights, as it was put into production."""

    number: PositiveInt
    slot: Slot
    strategy: Strategy
    weights: PurePosixPath
    """In the deployment's folder, so that nothing depends on the job that made them."""
    reference: PurePosixPath
    """The 16-bit weights that quality is held against, likewise."""
    replicas: tuple[Replica, ...]
    gate: GateDecision | None = None
    """Why it may serve; None for the untouched model."""
    job: str = ""
    """The job that made it."""
    since_s: NonNegativeFloat = 0.0
    """When it was put into its place, seconds since 1970: earlier requests there were another release's."""
    niceness: int = Field(default=0, ge=0, le=19)
    """How far its engines stand back for other processes of the machine."""

    def served(self, rows: Iterable[RequestSeen]) -> list[RequestSeen]:
        """Of the gateway's log, the requests that went to this release."""
        return [row for row in rows if row.slot == self.slot and row.at_s >= self.since_s]

    @property
    def label(self) -> str:
        """For people and logs: `v2 (llama.cpp Q8_0, 1 thread, 4 slots)`."""
        return f"v{self.number} ({self.strategy.label})"


class Route(Record):
    """Where requests go: all to `stable`, save the share that goes to the other place."""

    stable: Slot
    share: float = Field(default=0.0, ge=0, le=1)
    """Of the requests, to the place beside `stable`; a session (`Acp-Session`) always meets the same release."""


class AnswerCache(Record):
    """Answers kept before the gateway: of requests at temperature 0 that are the same to the byte."""

    port: Port
    """Where it answers, on loopback; the gateway's own port keeps nothing."""
    megabytes: PositiveInt = 256
    """On disk."""
    minutes: PositiveInt = 60

    @property
    def url(self) -> str:
        """Where clients send requests that may be answered from what is kept."""
        return f"http://127.0.0.1:{self.port}"


class DeploymentState(StrEnum):
    """`rolling_out` ends in `live` again, with the old release or the new one."""

    LIVE = "live"
    ROLLING_OUT = "rolling_out"
    COMPARING = "comparing"
    DOWN = "down"


class Deployment(Record):
    """One model in production under one name. What is written here is what a restarted agent goes on from."""

    name: str = Field(pattern=DEPLOYMENT_NAME)
    model: str
    state: DeploymentState
    port: Port
    """Of the gateway, on loopback."""
    metrics_port: Port
    """Where the gateway tells Prometheus of itself."""
    prometheus_port: Port | None = None
    """Where Prometheus answers, on loopback; None where this machine has none."""
    route: Route
    releases: tuple[Release, ...] = Field(max_length=2)
    """What runs: the stable one, and during a rollout the new one too."""
    last: "RolloutOutcome | None" = None
    previous: Release | None = None
    """What served before the last promotion: what `ROLLBACK_DEPLOYMENT` goes back to."""
    numbered: NonNegativeInt = 0
    """The highest release number that was given."""
    cache: AnswerCache | None = None
    """None where no answer is kept, which is the rule."""

    @property
    def stable(self) -> Release:
        """The release that serves everybody who is not part of a trial."""
        return self.in_slot(self.route.stable)

    @property
    def candidate(self) -> Release | None:
        """The release beside it, if any."""
        others = [release for release in self.releases if release.slot is not self.route.stable]
        return others[0] if others else None

    def in_slot(self, slot: Slot) -> Release:
        """The release in a place."""
        return next(release for release in self.releases if release.slot is slot)

    @property
    def url(self) -> str:
        """Where clients send their requests: OpenAI-compatible."""
        return f"http://127.0.0.1:{self.port}"


class JudgedMetric(StrEnum):
    """What a rollout is judged on."""

    LATENCY = "latency_p95"
    ERRORS = "errors"
    GOODPUT = "goodput"
    QUALITY = "quality"
    EFFECT = "latency_effect"
    """The new release's latency relative to the old one's: -0.1 is 10 % faster."""


class Judgement(Record):
    """One metric of the new release held against its limit, by a confidence sequence: valid at every look."""

    metric: JudgedMetric
    verdict: GateVerdict
    """`passed`: the whole interval is within the limit; `failed`: all of it is beyond; else `undecided`."""
    measured: Estimate
    limit: float
    samples: NonNegativeInt
    sentence: str


class Service(Record):
    """What one release did during a step. Milliseconds at the gateway, queue included."""

    release: str
    requests: NonNegativeInt
    failed: NonNegativeInt
    latency: Percentiles | None = None


class RolloutStep(Record):
    """One step: the share, how long it was held, who served what, and each verdict."""

    share: float
    seconds: NonNegativeFloat
    old: Service
    new: Service
    judgements: tuple[Judgement, ...]
    quality: GateDecision | None = None
    """The gate on live prompts, in the step in which it was held."""
    sampling: Sampling | None = None
    """The prompts that it was held on."""
    passed: bool
    sentence: str


class ShadowRun(Record):
    """Live requests that the new release answered without anybody seeing the answers."""

    requests: NonNegativeInt
    failed: NonNegativeInt
    latency: Percentiles | None = None


class RolloutEnd(StrEnum):
    """The two safe states that a rollout ends in."""

    PROMOTED = "promoted"
    """The new release gets all requests."""
    ROLLED_BACK = "rolled_back"
    """The old release gets all requests."""


class RolloutOutcome(Record):
    """How a rollout ended, and why."""

    deployment: str
    end: RolloutEnd
    sentence: str
    """The verdict in one sentence, with the safe state it ended in."""
    new: str
    old: str | None = None
    """None where nothing was in production before."""
    steps: tuple[RolloutStep, ...] = ()
    shadow: ShadowRun | None = None
    latency_limit_ms: float | None = None
    breach: Judgement | None = None
    """What it was rolled back for, where that was a figure."""
    requests: NonNegativeInt = 0
    failed: NonNegativeInt = 0
    """Of all requests while it lasted, on either release."""
    seconds: NonNegativeFloat = 0.0
    back_s: NonNegativeFloat | None = None
    """From the verdict until the old release got every new request."""
    drained_s: NonNegativeFloat | None = None
    """From then until the last request of the release that left was finished."""
    resumed: bool = False
    """Whether an agent had to look at what was running and go on where another had died."""

    @property
    def quality(self) -> GateDecision | None:
        """The gate on live prompts, None where it was not held or not decided."""
        return next((step.quality for step in self.steps if step.quality), None)

    @property
    def sampling(self) -> Sampling | None:
        """The prompts that quality was judged with, None where none were sampled."""
        return next((step.sampling for step in self.steps if step.sampling), None)


Deployment.model_rebuild()


class ReplicaNow(Record):
    """A replica as the gateway sees it at this moment."""

    name: str
    release: str
    state: str
    """HAProxy's word: UP, DOWN, MAINT, DRAIN."""
    open_requests: NonNegativeInt
    served: NonNegativeInt
    """Requests since the gateway started."""
    pid: NonNegativeInt
    """Of its process, 0 where there is none; another one than before tells of a restart."""


class DeploymentReport(Record):
    """The answer to `DEPLOYMENT_STATUS`, and the outcome of what changes a deployment."""

    deployment: Deployment
    sentence: str
    replicas: tuple[ReplicaNow, ...] = ()
    queued: NonNegativeInt = 0
    window_s: NonNegativeFloat = 0.0
    """The time behind the figures of `services`."""
    services: tuple[Service, ...] = ()
    costs: tuple[SenderCost, ...] = ()
    """Over the last hour, by release and sender."""
    burns: tuple[Burn, ...] = ()
    """Over `window_s` and over the last hour, by release."""
    cache: CacheFigures | None = None
    """What the cache of answers did, as far as its log reaches; None where there is none."""
    drift: Drift | None = None
    """How quality did since the rollout; None where nobody watches it."""
    hash: str = "deployment_v1"


class DeploymentList(Record):
    """Every deployment of this agent."""

    deployments: tuple[DeploymentReport, ...]
    hash: str = "deployments_v1"
