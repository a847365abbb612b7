"""An engine's own `/metrics` in, queue, KV cache and token counts as typed figures out; the names are data."""

import csv
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from pydantic import NonNegativeFloat

from schemas.base import Record
from schemas.resources import EngineMetrics

NAMES = Path(__file__).with_suffix(".csv")


class Scrape(Record):
    """One look at `/metrics`: gauges as they were, counters since the engine began."""

    running: NonNegativeFloat | None = None
    queue: NonNegativeFloat | None = None
    kv_used: NonNegativeFloat | None = None
    prompt_tokens: NonNegativeFloat | None = None
    generated_tokens: NonNegativeFloat | None = None


@cache
def _fields() -> dict[str, str]:
    """The field that each engine's metric fills."""
    with NAMES.open(newline="", encoding="utf-8") as file:
        return {row["metric"]: row["field"] for row in csv.DictReader(file)}


def parsed(text: str) -> Scrape:
    """One answer of `/metrics`; samples of one name (an engine's replicas) are added up.

    Raises:
        ValueError: where it is not Prometheus text.
    """
    fields, found = _fields(), dict[str, float]()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in fields:
                found[fields[sample.name]] = found.get(fields[sample.name], 0.0) + sample.value
    return Scrape.model_validate(found)


def summed(scrapes: Sequence[Scrape]) -> EngineMetrics | None:
    """A level's scrapes, first to last: peaks and means of gauges, growth of counters; None where there are none."""
    if not scrapes:
        return None
    queue = [one.queue for one in scrapes if one.queue is not None]
    first, last = scrapes[0], scrapes[-1]
    return EngineMetrics(
        running_peak=max((one.running for one in scrapes if one.running is not None), default=None),
        queue_mean=sum(queue) / len(queue) if queue else None,
        queue_peak=max(queue, default=None),
        kv_used_peak=max((one.kv_used for one in scrapes if one.kv_used is not None), default=None),
        prompt_tokens=_grown(first.prompt_tokens, last.prompt_tokens),
        generated_tokens=_grown(first.generated_tokens, last.generated_tokens),
        scrapes=len(scrapes),
    )


def _grown(first: float | None, last: float | None) -> float | None:
    return None if first is None or last is None else max(0.0, last - first)
