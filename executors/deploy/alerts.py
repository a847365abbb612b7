"""Alerts and the series they watch: `alerts.toml` in, Prometheus rule groups out, for one machine and for clusters."""

import tomllib
from functools import cache
from pathlib import Path

from executors.deploy.containers import containers
from schemas.alerts import AlertKind, RecordingRule
from schemas.cluster import ClusterRelease, Document, EngineContainer

RUNBOOK = "docs/runbook.md"
BY = "by (deployment, strategy)"
WINDOWS = ("5m", "30m", "1h", "6h", "3d")
"""Of the burn-rate alerts, short and long."""
INTERVAL = "30s"


@cache
def alerts() -> tuple[AlertKind, ...]:
    """Every alert, the order of the file."""
    rows = tomllib.loads((Path(__file__).parent / "alerts.toml").read_text(encoding="utf-8"))["alert"]
    return tuple(AlertKind.model_validate(row | {"expr": row["expr"].strip()}) for row in rows)


def agent_rules() -> tuple[Document, ...]:
    """The groups for a service behind the agent's own gateway: what every request took is known there."""
    bad = 'inferwright_requests_total{outcome!="good"}'
    return (
        engine_group(),
        _group(
            "inferwright-service-level",
            (*_bad_ratios(bad, "inferwright_requests_total"), *_budget(), *_cost(), _hits()),
        ),
        alert_group(),
    )


def service_level(release: ClusterRelease, container: EngineContainer) -> Document | None:
    """The group of one release on a cluster, from what its engine tells: latency only, since it counts no errors.

    None where `latency_bound` finds nothing to hold it against.
    """
    bound = latency_bound(release, container)
    if bound is None:
        return None
    chosen = f'deployment="{release.name}",strategy="{release.version}"'
    rules = (*_slow_ratios(container.latency, chosen, bound), _stated_budget(release))
    return _group(f"{release.slug}-service-level", rules)


def latency_bound(release: ClusterRelease, container: EngineContainer) -> float | None:
    """The engine's histogram bucket that the agreed latency falls into, in seconds: the largest within it.

    None where no latency was agreed, or the engine tells none that short.
    """
    if release.latency_p95_ms is None:
        return None
    within = [bound for bound in container.buckets if bound * 1000 <= release.latency_p95_ms]
    return max(within, default=None)


def alert_group() -> Document:
    """All alerts, each with the place in the runbook that says what to do."""
    rules: list[Document] = [
        {
            "alert": item.name,
            "expr": item.expr,
            **({"for": item.hold} if item.hold != "0s" else {}),
            "labels": {"severity": item.severity},
            "annotations": {
                "summary": item.summary,
                "description": item.meaning,
                "runbook": f"{RUNBOOK}#{item.anchor}",
            },
        }
        for item in alerts()
    ]
    return {"name": "inferwright-alerts", "interval": INTERVAL, "rules": [*rules]}


def engine_group() -> Document:
    """What each engine calls differently, under one name; names that nobody sends cost nothing."""

    def either(kind: str, aggregate: str) -> str:
        names = sorted({name for row in containers() if (name := getattr(row, kind))})
        return " or ".join(f"{aggregate} {BY} ({name})" for name in names)

    rules = (
        RecordingRule(record="inferwright:replicas_up", expr=f'sum {BY} (up{{deployment!=""}})'),
        RecordingRule(record="inferwright:requests_waiting", expr=either("waiting", "sum")),
        RecordingRule(record="inferwright:requests_running", expr=either("running", "sum")),
        RecordingRule(record="inferwright:kv_cache_usage:ratio", expr=either("kv_usage", "max")),
    )
    return _group("inferwright-engines", rules)


def _bad_ratios(bad: str, total: str) -> tuple[RecordingRule, ...]:
    """Share of requests that failed or were too slow, over each window; a sender's label does not count here."""
    return tuple(
        RecordingRule(
            record=f"inferwright:requests_bad:ratio_rate{window}",
            # none bad yet is no series at all: zero of what came
            expr=f"(sum {BY} (rate({bad}[{window}])) or 0 * sum {BY} (rate({total}[{window}])))"
            f" / sum {BY} (rate({total}[{window}]))",
        )
        for window in WINDOWS
    )


def _slow_ratios(histogram: str, chosen: str, bound: float) -> tuple[RecordingRule, ...]:
    return tuple(
        RecordingRule(
            record=f"inferwright:requests_bad:ratio_rate{window}",
            expr=f'1 - sum {BY} (rate({histogram}_bucket{{{chosen},le="{bound}"}}[{window}]))'
            f" / sum {BY} (rate({histogram}_count{{{chosen}}}[{window}]))",
        )
        for window in WINDOWS
    )


def _budget() -> tuple[RecordingRule, ...]:
    budget = "inferwright_error_budget_ratio"
    stated = f"min by (deployment) ({budget})"
    burn = f"inferwright:requests_bad:ratio_rate1h / on (deployment) group_left () {stated}"
    return (
        RecordingRule(record="inferwright:error_budget:ratio", expr=stated),
        RecordingRule(record="inferwright:error_budget_burn:ratio_rate1h", expr=burn),
    )


def _stated_budget(release: ClusterRelease) -> RecordingRule:
    expr = f'label_replace(vector({release.error_budget}), "deployment", "{release.name}", "", "")'
    return RecordingRule(record="inferwright:error_budget:ratio", expr=expr)


def _cost() -> tuple[RecordingRule, ...]:
    """US dollars per 1,000 requests, and each sender's share of what an hour costs by the time that slots gave it."""
    sender = "by (deployment, strategy, sender)"
    rate = f"sum {BY} (rate(inferwright_requests_total[1h]))"
    busy, all_busy = (f"sum {by} (rate(inferwright_slot_seconds_total[1h]))" for by in (sender, BY))
    hourly = f"max {BY} (inferwright_cost_usd_per_hour)"
    return (
        RecordingRule(record="inferwright:cost_per_1k_requests:usd", expr=f"{hourly} / ({rate} * 3.6)"),
        RecordingRule(
            record="inferwright:cost_by_sender:usd_per_hour",
            expr=f"{busy} / on (deployment, strategy) group_left () {all_busy}"
            f" * on (deployment, strategy) group_left () {hourly}",
        ),
        RecordingRule(
            record="inferwright:cost_by_sender:usd_per_1k_requests",
            expr=f"{busy} / on (deployment, strategy) group_left () {all_busy}"
            f" * on (deployment, strategy) group_left () {hourly}"
            f" / (sum {sender} (rate(inferwright_requests_total[1h])) * 3.6)",
        ),
    )


def _hits() -> RecordingRule:
    """Share of the requests without chance in them that the cache of answers spared the engines."""
    hit, asked = (f"inferwright_cached_requests_total{{outcome{what}}}" for what in ('="hit"', '!="passed"'))
    rates = (f"sum by (deployment) (rate({name}[5m]))" for name in (hit, asked))
    return RecordingRule(record="inferwright:cache_hits:ratio_rate5m", expr=" / ".join(rates))


def _group(name: str, rules: tuple[RecordingRule, ...]) -> Document:
    rows: list[Document] = [{"record": rule.record, "expr": rule.expr} for rule in rules]
    return {"name": name, "interval": INTERVAL, "rules": [*rows]}
