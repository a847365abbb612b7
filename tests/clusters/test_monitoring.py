"""Rules, alerts and the runbook: promtool checks them on real series, and what is committed is what is made."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from clusters.releases import ALL

from executors.deploy.alerts import alert_group, alerts, engine_group, latency_bound, service_level
from executors.deploy.containers import container_of
from executors.deploy.monitoring import RULES, rules
from handlers.markdown.runbook import runbook

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
UNIT_TESTS = ("rules_test.yml", "rules_slow_test.yml")
PROMTOOL = shutil.which("promtool") or "promtool"


def promtool(*words: str) -> str:
    """What promtool says of a file that it accepts."""
    done = subprocess.run([PROMTOOL, *words], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_committed_files_are_what_is_made() -> None:
    """`make docs` changes nothing."""
    assert (PROMETHEUS / RULES).read_text() == rules()
    assert (ROOT / "docs" / "runbook.md").read_text() == runbook(alerts())


def test_prometheus_accepts_rules_and_configuration() -> None:
    """`promtool check` parses every expression."""
    assert "27 rules found" in promtool("check", "rules", str(PROMETHEUS / RULES))
    assert "is valid" in promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))


def test_alerts_fire_when_they_should_and_only_then() -> None:
    """`promtool test rules`: series of a good and a bad day, with the alerts of each, word for word."""
    for name in UNIT_TESTS:
        assert "SUCCESS" in promtool("test", "rules", str(PROMETHEUS / name))


def test_every_alert_names_a_place_in_the_runbook() -> None:
    """File and heading are there, as a reader's link would find them."""
    for rule in yaml.safe_load((PROMETHEUS / RULES).read_text())["groups"][-1]["rules"]:
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        headings = [line.lstrip("# ") for line in (ROOT / file).read_text().splitlines() if line.startswith("#")]
        assert anchor in [re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings]


def test_every_alert_is_tested_to_fire() -> None:
    """No alert without a series in the unit tests that sets it off."""
    groups = [one for name in UNIT_TESTS for one in yaml.safe_load((PROMETHEUS / name).read_text())["tests"]]
    fired = {case["alertname"] for one in groups for case in one.get("alert_rule_test", ()) if case["exp_alerts"]}
    assert fired == {item.name for item in alerts()}


@pytest.mark.parametrize("name", ["vllm-h100", "sglang-two-nodes", "llama.cpp-epyc"])
def test_a_release_on_a_cluster_has_its_own_service_level(name: str, tmp_path: Path) -> None:
    """Where the engine tells seconds per request, slower than the agreed 2.6 s is bad; promtool accepts the rules."""
    release = ALL[name]
    level = service_level(release, container_of(release))
    bound = latency_bound(release, container_of(release))
    assert bound == {"vllm-h100": 2.5, "sglang-two-nodes": 2.0, "llama.cpp-epyc": None}[name]
    groups = [engine_group(), alert_group(), *([level] if level else [])]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": groups}))
    assert "SUCCESS" in promtool("check", "rules", str(tmp_path / "rules.yml"))


def test_slow_requests_of_an_engine_burn_the_budget(tmp_path: Path) -> None:
    """Histogram of vLLM, a third of the requests beyond the bucket: ratio, and the fast alert after an hour of it."""
    release = ALL["vllm-h100"]
    groups = [service_level(release, container_of(release)), alert_group()]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": groups}))
    chosen = 'deployment="llama-3-70b",strategy="inf_opt_v2"'
    series = {
        f'vllm:e2e_request_latency_seconds_bucket{{{chosen},le="2.5"}}': "0+20x90",
        f"vllm:e2e_request_latency_seconds_count{{{chosen}}}": "0+30x90",
    }
    case = {
        "interval": "1m",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "promql_expr_test": [
            {
                "expr": "round(inferwright:requests_bad:ratio_rate1h, 0.01)",
                "eval_time": "80m",
                "exp_samples": [{"labels": f"{{{chosen}}}", "value": 0.33}],
            },
            {
                "expr": "count by (alertname) (ALERTS{alertstate='firing',severity='page'})",
                "eval_time": "80m",
                "exp_samples": [
                    {"labels": f'{{alertname="{name}"}}', "value": 1}
                    for name in ("ErrorBudgetBurns", "ErrorBudgetBurnsFast")
                ],
            },
        ],
    }
    test = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [case]}
    (tmp_path / "test.yml").write_text(json.dumps(test))
    promtool("test", "rules", str(tmp_path / "test.yml"))
