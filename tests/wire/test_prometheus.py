"""Real Prometheus on the agent's bridge: it finds what is deployed, reads it, and its rules fire."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from production import rollout
from test_bridge import serving

from acp.settings import Settings
from executors.deploy.engines import free_ports
from executors.deploy.home import Home
from executors.process import Child

ROOT = Path(__file__).parents[2]
ROW = {"at_s": 1.0, "server": "blue-1", "status": 200, "queue_ms": 0, "first_ms": 90, "bytes": 10, "end": "--"}


@pytest.fixture
def deployed() -> Iterator[Path]:
    """A folder of runs in which one model is deployed, as records, with 30 requests in its gateway's log."""
    with tempfile.TemporaryDirectory() as folder:
        (report,) = rollout()[:1]
        home = Home.under(Path(folder) / "deployments", report.deployment.name)
        home.make()
        home.save(report.deployment)
        rows = [ROW | {"slot": "blue", "total_ms": 100 + number, "sender": "alice"} for number in range(30)]
        (home.logs / "gateway.log").write_text("".join(json.dumps(row) + "\n" for row in rows))
        yield Path(folder)


@pytest.fixture
async def prometheus(settings: Settings, deployed: Path, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a Prometheus with the project's own configuration and rules, made impatient."""
    (port,) = free_ports(1)
    async with serving(settings.model_copy(update={"runs_dir": deployed})) as url:
        text = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text()
        impatient: Any = yaml.safe_load(text.replace("127.0.0.1:8787", url.removeprefix("http://")))
        impatient["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        impatient["scrape_configs"][1]["http_sd_configs"][0]["refresh_interval"] = "1s"
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(impatient))
        rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
        for group in rules["groups"]:
            group["interval"] = "1s"
        (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
        command = [
            shutil.which("prometheus") or "prometheus",
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        async with Child(command, log=tmp_path / "prometheus.log"):
            yield f"http://127.0.0.1:{port}"


async def until(url: str, query: str, wanted: dict[str, float], limit_s: float = 60.0) -> None:
    """Wait until the answer to a query is `wanted`, by the value of its label `strategy`."""
    found: dict[str, float] = {}
    async with aiohttp.ClientSession() as session, asyncio.timeout(limit_s):
        while found != wanted:
            await asyncio.sleep(0.2)
            try:
                async with session.get(f"{url}/api/v1/query", params={"query": query}) as answer:
                    result = (await answer.json())["data"]["result"]
            except aiohttp.ClientError:
                continue
            found = {row["metric"].get("strategy", ""): float(row["value"][1]) for row in result}


async def test_prometheus_reads_what_is_deployed(prometheus: str, deployed: Path) -> None:
    """Requests, shares and quality by release; engines found by discovery; those that are down make an alert pend."""
    assert (deployed / "deployments").is_dir()
    await until(prometheus, "sum by (strategy) (inferwright_requests_total)", {"v1": 30})
    await until(prometheus, "inferwright_share_ratio", {"v1": 0.75, "v3": 0.25})
    await until(prometheus, "inferwright_quality_loss_limit", {"v3": 0.02})
    await until(prometheus, "inferwright:error_budget:ratio", {"": 0.01})
    # nothing listens where the record says that the engines are
    await until(prometheus, "inferwright:replicas_up", {"v1": 0, "v3": 0})
    await until(prometheus, "count by (strategy) (ALERTS{alertname='DeploymentDown'})", {"v1": 1, "v3": 1})
    await until(prometheus, "acp_ready", {"": 1})
