"""Counters of the agent and figures of what it has in production in, Prometheus text out."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from acp.bus import Bus
from acp.service import Service
from schemas.exposure import BUCKETS_S, Exposed, QualityFigures, ServiceFigures

RELEASE = ["deployment", "strategy"]
"""Labels of everything that a release tells."""
GAUGES: tuple[tuple[str, str, Callable[[ServiceFigures], float | None]], ...] = (
    ("inferwright_share_ratio", "Of the requests, as the gateway routes them.", lambda one: one.share),
    ("inferwright_latency_limit_seconds", "Beyond it a request is slow.", lambda one: one.latency_limit_s),
    ("inferwright_cost_usd_per_hour", "US dollars per hour of all replicas.", lambda one: one.usd_per_hour),
    (
        "inferwright_planned_cost_per_1k_requests_usd",
        "US dollars per 1,000 requests at the plan's request rate.",
        lambda one: one.planned_usd_per_1k,
    ),
)
QUALITY: tuple[tuple[str, str, Callable[[QualityFigures], float | None]], ...] = (
    ("inferwright_quality_loss", "Relative rise of perplexity against the baseline.", lambda one: one.loss),
    ("inferwright_quality_loss_low", "Lower end of its confidence interval.", lambda one: one.loss_low),
    ("inferwright_quality_loss_high", "Upper end of its confidence interval.", lambda one: one.loss_high),
    ("inferwright_quality_loss_limit", "What is allowed.", lambda one: one.limit),
    (
        "inferwright_quality_judged_timestamp_seconds",
        "When live prompts were last judged after the rollout.",
        lambda one: one.judged_at_s,
    ),
)


class AgentCollector(Collector):
    """Reads what the agent counts anyway, when it is asked."""

    def __init__(self, bus: Bus, service: Service) -> None:
        self._bus = bus
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        messages = CounterMetricFamily("acp_messages", "Messages by kind and by error.", labels=["kind"])
        for kind, count in sorted(self._service.intake.counts.items()):
            messages.add_metric([kind], count)
        yield messages
        broker = CounterMetricFamily(
            "acp_nats_events", "Errors, drops and disconnects of the connection.", labels=["kind"]
        )
        for kind, count in sorted(self._bus.counts.items()):
            broker.add_metric([kind], count)
        yield broker
        yield GaugeMetricFamily("acp_jobs_running", "Jobs that this process runs.", len(self._service.worker.running))
        yield GaugeMetricFamily("acp_ready", "1 while this agent answers.", float(self._service.healthy))


class ProductionCollector(Collector):
    """What each release in production did, how good it is and what it costs."""

    def __init__(self, exposed: Exposed) -> None:
        self._services = exposed.services
        self._caches = exposed.caches

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        labels = [*RELEASE, "sender", "outcome"]
        requests = CounterMetricFamily("inferwright_requests", "Requests at the gateway.", labels=labels)
        seconds = HistogramMetricFamily("inferwright_request_seconds", "From arrival to the last byte.", labels=RELEASE)
        budget = GaugeMetricFamily(
            "inferwright_error_budget_ratio", "Share of requests that may be bad.", labels=["deployment"]
        )
        busy = CounterMetricFamily(
            "inferwright_slot_seconds", "Time of slots, without the queue.", labels=[*RELEASE, "sender"]
        )
        for one in self._services:
            for sender, worked in one.busy_s.items():
                busy.add_metric([one.deployment, one.strategy, sender], worked)
            for tally in one.tallies:
                requests.add_metric([one.deployment, one.strategy, tally.sender, tally.outcome], tally.requests)
            bounds = [*map(str, BUCKETS_S), "+Inf"]
            seconds.add_metric([one.deployment, one.strategy], list(zip(bounds, one.buckets, strict=True)), one.seconds)
            budget.add_metric([one.deployment], one.error_budget)
        cached = CounterMetricFamily(
            "inferwright_cached_requests", "Requests at the cache of answers.", labels=["deployment", "outcome"]
        )
        for told in self._caches:
            for outcome in ("hit", "miss", "passed"):
                cached.add_metric([told.deployment, outcome], getattr(told, outcome))
        yield from (requests, seconds, busy, cached, budget, *self._gauges(), *self._quality())

    def _gauges(self) -> Iterator[Metric]:
        for name, text, figure in GAUGES:
            family = GaugeMetricFamily(name, text, labels=RELEASE)
            for one in self._services:
                if (value := figure(one)) is not None:
                    family.add_metric([one.deployment, one.strategy], value)
            yield family

    def _quality(self) -> Iterator[Metric]:
        for name, text, figure in QUALITY:
            family = GaugeMetricFamily(name, text, labels=[*RELEASE, "source"])
            for one in self._services:
                if one.quality and (value := figure(one.quality)) is not None:
                    family.add_metric([one.deployment, one.strategy, one.quality.source], value)
            yield family


def render(bus: Bus, service: Service, exposed: Exposed) -> bytes:
    """The metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(AgentCollector(bus, service))
    registry.register(ProductionCollector(exposed))
    return generate_latest(registry)
