"""Counters of the agent in, Prometheus text out."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from acp.bus import Bus
from acp.service import Service


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


def render(bus: Bus, service: Service) -> bytes:
    """The metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(AgentCollector(bus, service))
    return generate_latest(registry)
