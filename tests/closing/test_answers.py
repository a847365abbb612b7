"""What is answered at once: plans in the formats they are asked in, and costs."""

import math
from pathlib import Path

import orjson
import pytest
from closing.agent import agent

from cli.send import Sent, send
from handlers.workshop import Workshop
from schemas.command import RespondFormat
from schemas.error import AgentError, ErrorCode
from schemas.findings import CostReport, PredictedPerformance
from schemas.plan import Plan

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
MONTH_S = 730 * 3600
REQUEST: dict[str, object] = {
    "cmd": "OPTIMIZE_INFERENCE",
    "model": "llama-3.1-8b",
    "targets": {"throughput": 4},
    "constraints": {"hardware": "1xL40S"},
    "workload": {"input_tokens": 512, "output_tokens": 128},
    "mode": "plan",
}


async def _ask(workshop: Workshop, runs: Path, *commands: dict[str, object]) -> list[Sent]:
    async with agent(runs, workshop) as url:
        return [await send(command, url) for command in commands]


async def test_a_plan_is_answered_in_the_format_it_is_asked_in(workshop: Workshop, tmp_path: Path) -> None:
    """The whole plan, its figures alone, its costs, or a page: all of the same plan."""
    formats = [
        RespondFormat.OPTIMIZATION_PLAN,
        RespondFormat.PERFORMANCE_REPORT,
        RespondFormat.COST_REPORT,
        RespondFormat.MARKDOWN,
    ]
    answers = await _ask(workshop, tmp_path, *({**REQUEST, "respond_format": str(it)} for it in formats))
    plan = Plan.model_validate_json(answers[0].reply)
    performance = PredictedPerformance.model_validate_json(answers[1].reply)
    cost = CostReport.model_validate_json(answers[2].reply)
    assert performance.strategies == plan.chosen
    assert cost.options[0].strategy == plan.chosen[0].strategy.label
    assert orjson.loads(answers[3].reply)["markdown"].startswith("# Plan for ")


async def test_costs_add_up(workshop: Workshop, tmp_path: Path) -> None:
    """Dollars per request are the month's price over the month's requests; years are months; the cheapest is first."""
    command = {**REQUEST, "cmd": "COST_ANALYSIS", "current_perf": {"cost_monthly": "$9000", "throughput": 3}}
    (sent,) = await _ask(workshop, tmp_path, command)
    report = CostReport.model_validate_json(sent.reply)
    assert {"on-demand", "today"} <= {option.kind for option in report.options}
    assert [option.monthly.value for option in report.options] == sorted(it.monthly.value for it in report.options)
    for option in report.options:
        rate = 3 if option.kind == "today" else 4
        assert option.per_1k_requests is not None
        assert option.per_1m_tokens is not None
        assert math.isclose(option.per_1k_requests.value, option.monthly.value / (rate * MONTH_S) * 1e3)
        assert math.isclose(option.per_1m_tokens.value, option.per_1k_requests.value * 1e3 / 128)
        assert math.isclose(option.total_36_months.value, 36 * option.monthly.value)
        assert option.source
    assert any(item.name == "utilisation" for item in report.assumptions)


async def test_todays_figures_alone_have_a_cost(workshop: Workshop, tmp_path: Path) -> None:
    """The family's own figures: $5,000 a month at 55 requests/s is $0.0346 per 1,000 requests, whatever the model."""
    today = {"cost_monthly": 5000, "throughput": 55}
    command = {"cmd": "COST_ANALYSIS", "model": "a model of our own", "current_perf": today}
    (sent,) = await _ask(workshop, tmp_path, command)
    (option,) = CostReport.model_validate_json(sent.reply).options
    assert option.per_1k_requests is not None
    assert round(option.per_1k_requests.value, 4) == 0.0346


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"model": "nobody"}, ErrorCode.UNKNOWN_MODEL),
        ({"model": "llama-3.1-8b", "job": "job-" + "a" * 20}, ErrorCode.UNKNOWN_JOB),
        ({"model": "llama-3.1-8b", "constraints": {"hardware": "abacus"}}, ErrorCode.UNKNOWN_HARDWARE),
    ],
)
async def test_a_cost_of_nothing_known_is_an_error(
    workshop: Workshop, tmp_path: Path, fields: dict[str, object], code: ErrorCode
) -> None:
    """Neither a model nor a job nor today's bill: said in one sentence."""
    async with agent(tmp_path, workshop) as url:
        with pytest.raises(AgentError) as refused:
            await send({"cmd": "COST_ANALYSIS", **fields}, url)
    assert refused.value.code is code
