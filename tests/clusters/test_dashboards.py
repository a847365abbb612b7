"""Grafana's dashboards: made by code, as committed, within Grafana's published schema; no Grafana runs here."""

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from conftest import CACHE

from executors import toolchain

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
SCHEMAS = Path(__file__).parent / "schemas"
FILES = ("production.json", "agent.json")


def validator(name: str) -> Any:
    """One of Grafana's published schemas."""
    schema = json.loads((SCHEMAS / name).read_text())
    return jsonschema.validators.validator_for(schema)(schema)


def queries(name: str) -> list[dict[str, Any]]:
    """Every query of a dashboard."""
    panels = json.loads((GRAFANA / name).read_text())["panels"]
    return [target for panel in panels for target in panel.get("targets", ())]


def test_what_is_committed_is_what_the_code_makes(tmp_path: Path) -> None:
    """`make dashboards` changes nothing; the library reads each one back as it was made."""
    tools = asyncio.run(toolchain.install(toolchain.specification("grafana"), CACHE, lambda _: None))
    subprocess.run([str(tools.python), str(GRAFANA / "dashboards.py"), str(tmp_path)], check=True)  # noqa: S603
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)
    for name in FILES:
        assert (tmp_path / name).read_text() == (GRAFANA / name).read_text()


@pytest.mark.parametrize("name", FILES)
def test_dashboards_are_within_grafana_s_schema(name: str) -> None:
    """The dashboard by Grafana's schema, each query by that of its Prometheus data source; a wrong type is seen."""
    board = json.loads((GRAFANA / name).read_text())
    assert [error.message for error in validator("grafana-dashboard.json").iter_errors(board)] == []
    found = [
        error.message for query in queries(name) for error in validator("grafana-prometheus.json").iter_errors(query)
    ]
    assert found == []
    board["panels"][0]["type"] = 3
    assert not validator("grafana-dashboard.json").is_valid(board)


@pytest.mark.parametrize("name", FILES)
def test_every_query_is_one_that_prometheus_parses(name: str, tmp_path: Path) -> None:
    """Promtool takes each expression as a rule's."""
    rules = [
        {"record": f"query:{number}", "expr": query["expr"].replace("$deployment", ".*")}
        for number, query in enumerate(queries(name))
    ]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool = shutil.which("promtool") or "promtool"
    command = [promtool, "check", "rules", str(tmp_path / "rules.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr


def test_panels_ask_for_series_that_exist() -> None:
    """Each recorded name in a query is recorded by the rules, each metric of the agent is one that it tells."""
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
    recorded = {rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}
    asked = {
        word for name in FILES for query in queries(name) for word in re.findall(r"inferwright:[\w:]+", query["expr"])
    }
    assert len(asked) > 8
    assert asked <= recorded
    source = (ROOT / "acp" / "bridge" / "metrics.py").read_text()
    told = set(re.findall(r'"((?:inferwright|acp)_\w+)"', source))
    used = {
        word
        for name in FILES
        for query in queries(name)
        for word in re.findall(r"\b(?:inferwright|acp)_\w+", query["expr"])
    }
    assert len(used) > 8
    assert {re.sub(r"_(total|bucket)$", "", word) for word in used} <= told
