"""Dashboards as code: `make dashboards` runs this in the `grafana` toolchain and writes the JSON files beside it.

Panels ask for the recording rules of deploy/prometheus and the metrics of the agent and of its gateway.
"""

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard, DashboardCursorSync, DataSourceRef

SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
CHOSEN = '{deployment=~"$deployment"}'
BUDGET = "on (deployment) group_left () inferwright:error_budget:ratio"
SECONDS = "inferwright_request_seconds_bucket"
FAILURES = 'haproxy_backend_http_responses_total{gateway=~"$deployment",code="5xx"}'
WIDTH, HEIGHT = 8, 8
Rows = dict[str, list[tuple[str, str, str, str]]]
"""Title of a row, and of each panel its title, unit, query and legend."""

PRODUCTION: Rows = {
    "Are users served well?": [
        (
            "Bad requests (failed or too slow), 5 min",
            "percentunit",
            f"inferwright:requests_bad:ratio_rate5m{CHOSEN}",
            "{{deployment}} {{strategy}}",
        ),
        (
            "Error budget: how many times too fast it burns, 1 h",
            "none",
            f"inferwright:error_budget_burn:ratio_rate1h{CHOSEN}",
            "{{deployment}} {{strategy}}",
        ),
        (
            "Error budget left of 3 days",
            "percentunit",
            f"1 - inferwright:requests_bad:ratio_rate3d{CHOSEN} / {BUDGET}",
            "{{deployment}} {{strategy}}",
        ),
        (
            "Latency p95",
            "s",
            f"histogram_quantile(0.95, sum by (le, deployment, strategy) (rate({SECONDS}{CHOSEN}[5m])))",
            "{{deployment}} {{strategy}}",
        ),
        (
            "Requests by outcome",
            "reqps",
            f"sum by (deployment, strategy, outcome) (rate(inferwright_requests_total{CHOSEN}[5m]))",
            "{{deployment}} {{strategy}} {{outcome}}",
        ),
        ("Share of the requests", "percentunit", f"inferwright_share_ratio{CHOSEN}", "{{deployment}} {{strategy}}"),
    ],
    "Is it as good as it was?": [
        ("Loss, upper end", "percentunit", f"inferwright_quality_loss_high{CHOSEN}", "{{strategy}} {{source}} at most"),
        ("Loss, lower end", "percentunit", f"inferwright_quality_loss_low{CHOSEN}", "{{strategy}} {{source}} at least"),
        (
            "Time since live prompts were judged",
            "s",
            f"time() - inferwright_quality_judged_timestamp_seconds{CHOSEN}",
            "{{deployment}} {{strategy}}",
        ),
        ("Loss allowed", "percentunit", f"inferwright_quality_loss_limit{CHOSEN}", "{{strategy}} limit"),
    ],
    "What does it cost?": [
        (
            "US dollars per 1,000 requests",
            "currencyUSD",
            f"inferwright:cost_per_1k_requests:usd{CHOSEN}",
            "{{deployment}} {{strategy}}",
        ),
        (
            "As planned",
            "currencyUSD",
            f"inferwright_planned_cost_per_1k_requests_usd{CHOSEN}",
            "{{deployment}} {{strategy}}",
        ),
        (
            "US dollars per 1,000 requests by sender and release",
            "currencyUSD",
            f"topk(10, inferwright:cost_by_sender:usd_per_1k_requests{CHOSEN})",
            "{{sender}} {{strategy}}",
        ),
        (
            "Share of the requests without chance that the cache answered",
            "percentunit",
            f"inferwright:cache_hits:ratio_rate5m{CHOSEN}",
            "{{deployment}}",
        ),
        (
            "US dollars per hour by sender",
            "currencyUSD",
            f"topk(10, inferwright:cost_by_sender:usd_per_hour{CHOSEN})",
            "{{sender}} {{strategy}}",
        ),
    ],
    "Is there room?": [
        ("Requests waiting", "none", f"inferwright:requests_waiting{CHOSEN}", "{{deployment}} {{strategy}}"),
        ("Requests running", "none", f"inferwright:requests_running{CHOSEN}", "{{deployment}} {{strategy}}"),
        ("KV cache in use", "percentunit", f"inferwright:kv_cache_usage:ratio{CHOSEN}", "{{deployment}} {{strategy}}"),
        ("Replicas up", "none", f"inferwright:replicas_up{CHOSEN}", "{{deployment}} {{strategy}}"),
        (
            "Waiting at the gateway",
            "none",
            'haproxy_backend_current_queue{gateway=~"$deployment"}',
            "{{gateway}} {{proxy}}",
        ),
        (
            "Gateway: errors by backend",
            "reqps",
            f"sum by (gateway, proxy) (rate({FAILURES}[5m]))",
            "{{gateway}} {{proxy}}",
        ),
    ],
}
AGENT: Rows = {
    "Does the agent work?": [
        ("Ready", "none", "acp_ready", "{{instance}}"),
        ("Jobs running", "none", "acp_jobs_running", "{{instance}}"),
        ("Messages by kind", "reqps", "sum by (kind) (rate(acp_messages_total[5m]))", "{{kind}}"),
        (
            "Broker: errors, drops, disconnects",
            "none",
            "sum by (kind) (increase(acp_nats_events_total[5m]))",
            "{{kind}}",
        ),
    ],
}


def query(expr: str, legend: str) -> prometheus.Dataquery:
    """One query, over the time of the page."""
    return prometheus.Dataquery().expr(expr).legend_format(legend).range()


def page(uid: str, title: str, rows: Rows) -> dashboard.Dashboard:
    """A dashboard: firing alerts first, then its rows."""
    firing = stat.Panel().title("Alerts firing").datasource(SOURCE).span(WIDTH).height(HEIGHT)
    firing.with_target(query('count(ALERTS{alertstate="firing"}) or vector(0)', "firing"))
    listed = table.Panel().title("Which").datasource(SOURCE).span(2 * WIDTH).height(HEIGHT)
    listed.with_target(prometheus.Dataquery().expr('ALERTS{alertstate="firing"}').instant().format("table"))
    made = dashboard.Dashboard(title).uid(uid).tags(["inferwright"]).refresh("30s").time("now-6h", "now")
    made.timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR).editable()
    made.with_variable(dashboard.DatasourceVariable("source").type("prometheus"))
    deployments = dashboard.QueryVariable("deployment").query("label_values(inferwright:replicas_up, deployment)")
    made.with_variable(deployments.datasource(SOURCE).multi(multi=True).include_all(include_all=True).all_value(".*"))
    made.with_panel(firing).with_panel(listed)
    for name, panels in rows.items():
        made.with_row(dashboard.Row(name))
        for caption, unit, expr, legend in panels:
            panel = timeseries.Panel().title(caption).unit(unit).datasource(SOURCE).span(WIDTH).height(HEIGHT)
            made.with_panel(panel.min(0).fill_opacity(8).with_target(query(expr, legend)))
    return made


def dashboards() -> dict[str, Dashboard]:
    """Every dashboard by its file's name."""
    return {
        "production.json": page("inferwright-production", "inferwright: production", PRODUCTION).build(),
        "agent.json": page("inferwright-agent", "inferwright: the agent", AGENT).build(),
    }


def written(made: Dashboard) -> str:
    """A dashboard as Grafana imports it."""
    return json.dumps(made, cls=JSONEncoder, indent=1, sort_keys=True)


def main(folder: Path) -> None:
    """Write them all."""
    for name, made in dashboards().items():
        text = written(made)
        if written(Dashboard.from_json(json.loads(text))) != text:
            sys.exit(f"{name} does not read back as it was made")
        (folder / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
