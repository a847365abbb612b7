"""What services in production tell Prometheus: requests by outcome and sender, their seconds, quality and cost."""

from pydantic import NonNegativeFloat, NonNegativeInt

from schemas.base import Record

BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of the latency histogram, in seconds."""


class Tally(Record):
    """Requests of one sender with one outcome: `good`, `slow` (beyond the agreed latency) or `failed`."""

    sender: str
    outcome: str
    requests: NonNegativeInt


class QualityFigures(Record):
    """The latest decision of the gate on a release: relative loss with its interval, and the limit."""

    source: str
    """`live` for sampled prompts, `gate` for the text it was judged on before."""
    loss: float
    loss_low: float
    loss_high: float
    limit: float
    judged_at_s: float | None = None
    """When the watch judged last, seconds since 1970; None where it has not yet, or nobody watches."""


class ServiceFigures(Record):
    """One release of one deployment, as of now. Counts since the gateway's log began."""

    deployment: str
    strategy: str
    """`v2`: the release's number."""
    tallies: tuple[Tally, ...]
    buckets: tuple[NonNegativeInt, ...]
    """Completed requests within each of `BUCKETS_S`, cumulative; one more for all of them."""
    seconds: NonNegativeFloat
    """Their latencies' sum."""
    busy_s: dict[str, NonNegativeFloat]
    """Seconds in which a slot worked for each sender: what the price of the machine is shared out by."""
    share: float
    """Of the requests, as the gateway routes them."""
    error_budget: float
    latency_limit_s: float | None = None
    quality: QualityFigures | None = None
    usd_per_hour: float | None = None
    planned_usd_per_1k: float | None = None
    """US dollars per 1,000 requests at the request rate that the plan was made for."""


class CacheFigures(Record):
    """What a deployment's cache of answers did, since its log began."""

    deployment: str
    hit: NonNegativeInt
    """Answered from it."""
    miss: NonNegativeInt
    """Made by an engine, and kept."""
    passed: NonNegativeInt
    """Requests whose answers are not kept: with chance in them, or while a release is on trial."""

    @property
    def hit_rate(self) -> float | None:
        """Share of hits among those that might have been; None where there was none."""
        return self.hit / (self.hit + self.miss) if self.hit + self.miss else None


class ScrapeTarget(Record):
    """One row of Prometheus' HTTP service discovery."""

    targets: tuple[str, ...]
    labels: dict[str, str]


class Exposed(Record):
    """Everything in production at one moment."""

    services: tuple[ServiceFigures, ...] = ()
    caches: tuple[CacheFigures, ...] = ()
    targets: tuple[ScrapeTarget, ...] = ()
