"""Measuring commands over HTTP: the same jobs, updates and reports as over NATS."""

from pathlib import Path

import aiohttp
import pytest
from closing.agent import agent

from acp.bridge.app import Bridge
from handlers.workshop import Workshop
from schemas.findings import ComparisonReport, PerformanceReport

pytestmark = [pytest.mark.real, pytest.mark.timeout(600), pytest.mark.usefixtures("nothing_left")]
MODEL = "smollm2-135m-instruct"
WORKLOAD = {"input_tokens": 16, "output_tokens": 4, "concurrency": 2}


async def asked(http: aiohttp.ClientSession, command: dict[str, object]) -> tuple[str, bytes, str]:
    """The events of the job that a command makes, and its report in both forms."""
    async with http.post("/acp", json=command) as answer:
        assert answer.status == 202, await answer.text()
        where = answer.headers["Location"]
    async with http.get(f"{where}/events") as events:
        told = await events.text()
    forms = []
    for kind in ("application/json", "text/markdown"):
        async with http.get(f"{where}/report", headers={"Accept": kind}) as answer:
            assert answer.status == 200
            forms.append(await answer.read())
    return told, forms[0], forms[1].decode()


async def test_benchmarks_and_comparisons_are_served_over_http(workshop: Workshop, tmp_path: Path) -> None:
    """A benchmark and a comparison: accepted with a place, followed to the end, both reports whole."""
    bridges: list[Bridge] = []
    one = {"cmd": "BENCHMARK_INFERENCE", "model": MODEL, "load": {"concurrency": [1], "requests": 2}}
    two = {"cmd": "COMPARE_STRATEGIES", "model": MODEL, "strategies": ["F16", "Q8_0"], "workload": WORKLOAD}
    async with agent(tmp_path, workshop, bridges), aiohttp.ClientSession(bridges[0].url) as http:
        events, measured, page = await asked(http, {**one, "workload": WORKLOAD})
        assert '"state":"completed"' in events
        (level,) = PerformanceReport.model_validate_json(measured).load.levels
        assert (level.completed, level.failed) == (2, 0)
        assert page.startswith(f"# {MODEL}: measured")
        events, compared, page = await asked(http, {**two, "constraints": {"max_quality_loss": "40%"}})
        assert '"state":"completed"' in events
        first, second = ComparisonReport.model_validate_json(compared).contenders
        assert (first.verdict is None, second.verdict is None) == (True, False)
        assert page.startswith(f"# {MODEL}")
