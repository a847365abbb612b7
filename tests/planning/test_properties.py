"""Whatever is asked: no plan breaks a limit by its own numbers, none that cannot run, relaxations really do."""

from collections.abc import Callable
from typing import Any

import numpy as np
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planners.arguments import faults
from planners.catalog import find_hardware, find_model, load_prices
from planners.choose import score
from planners.plan import Facts, plan
from planners.search import search
from planners.support import engines, rules
from schemas.command import OptimizeInference
from schemas.error import AgentError, ErrorCode
from schemas.plan import Candidate, Plan, Relaxation

Edit = Callable[[dict[str, Any]], None]
ROUNDING = 1 + 2e-6
"""Figures are shown with six digits."""

MODELS = [
    "llama-3.1-8b",
    "llama-3.3-70b",
    "deepseek-r1",
    "qwen3-30b-a3b",
    "deepseek-v2-lite",
    "gemma-2-9b",
    "gpt-oss-20b",
]
HARDWARE = [
    "8xH200",
    "1xL4",
    "2xA10G",
    "1xRTX4090",
    "4xA100-SXM-80GB",
    "2xH100-SXM",
    "1xMI300X",
    "1xXeon-SPR",
    "4xTPU-v5e",
]


def log_between(low: float, high: float) -> st.SearchStrategy[float]:
    """Floats spread evenly over orders of magnitude."""
    return st.floats(np.log(low), np.log(high)).map(lambda log: float(f"{np.exp(log):.4g}"))


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """A request's fields: some targets, some limits, some of the workload."""

    def maybe(value: st.SearchStrategy[float]) -> float | None:
        return draw(st.none() | value)

    targets = {
        "latency_p95": maybe(log_between(200, 60_000)),
        "ttft_p95": maybe(log_between(50, 10_000)),
        "tpot_p50": maybe(log_between(3, 200)),
        "throughput": maybe(log_between(0.05, 60)),
    }
    constraints = {
        "hardware": draw(st.sampled_from(HARDWARE)),
        "max_quality_loss": draw(st.sampled_from([0.0, 0.005, 0.02, 0.1])),
        "budget_monthly": maybe(log_between(100, 40_000)),
    }
    arrivals: list[dict[str, Any]] = [{}, {}, {"concurrency": 1}, {"concurrency": 24}, {"batch_job": True}]
    workload = {
        "input_tokens": draw(st.sampled_from([64, 512, 3000])),
        "output_tokens": draw(st.sampled_from([16, 200])),
        "shared_prefix_tokens": draw(st.sampled_from([0, 0, 48])),
        **draw(st.sampled_from(arrivals)),
    }
    return {
        "cmd": "OPTIMIZE_INFERENCE",
        "model": draw(st.sampled_from(MODELS)),
        "targets": {name: value for name, value in targets.items() if value is not None},
        "constraints": {name: value for name, value in constraints.items() if value is not None},
        "workload": workload,
    }


def ask(fields: dict[str, Any]) -> tuple[OptimizeInference, Facts]:
    """The request and the facts for it."""
    request = OptimizeInference.model_validate(fields)
    pools = find_hardware(request.constraints.hardware)
    return request, Facts(find_model(request.model), pools, None, load_prices(), silicon=False)


def planned(fields: dict[str, Any]) -> Plan | None:
    """The plan, or nothing where the model fits in no way or no engine runs there."""
    try:
        return plan(*ask(fields))
    except AgentError as error:
        if error.code not in {ErrorCode.INFEASIBLE, ErrorCode.UNSUPPORTED}:
            raise
        return None


def within(candidate: Candidate, fields: dict[str, Any], end: str) -> bool:
    """Whether a candidate's own figures, or the good ends of their intervals, keep every limit."""
    guess, targets, limits = candidate.prediction, fields["targets"], fields["constraints"]
    good, most = ("low", "high") if end == "best" else ("value", "value")
    upper = {"latency_p95": guess.latency_p95_ms, "ttft_p95": guess.ttft_p95_ms, "tpot_p50": guess.tpot_ms}
    for name, estimate in upper.items():
        if name in targets and getattr(estimate, good) > targets[name] * ROUNDING:
            return False
    if "throughput" in targets and getattr(guess.throughput_rps, most) * ROUNDING < targets["throughput"]:
        return False
    if "budget_monthly" in limits:
        cost = guess.cost_monthly_usd
        if cost is None or cost.value > limits["budget_monthly"] * ROUNDING:
            return False
    return bool(getattr(guess.quality_loss, good) <= limits["max_quality_loss"])


def can_run(candidate: Candidate, fields: dict[str, Any]) -> bool:
    """Whether the support matrix, the pool and the memory allow a candidate."""
    strategy = candidate.strategy
    pool = find_hardware(fields["constraints"]["hardware"])[0]
    rule = next(r for r in rules() if (r.engine, r.weight_format) == (strategy.engine, strategy.weight_format))
    return (
        rule.runs_on(pool.accelerator)
        and strategy.kv_format in rule.kv_formats_on(pool.accelerator, find_model(fields["model"]))
        and strategy.speculation in {"none", *rule.ahead}
        and strategy.scheduling in engines()[strategy.engine].scheduling
        and strategy.count == strategy.tensor_parallel * strategy.pipeline_parallel
        and strategy.count * strategy.replicas <= pool.count
        and find_model(fields["model"]).heads % strategy.tensor_parallel == 0
        and candidate.memory.total_gb <= strategy.count * pool.accelerator.memory_gb
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests())
def test_no_chosen_plan_breaks_a_limit_or_cannot_run(fields: dict[str, Any]) -> None:
    """The first choice keeps every limit by its own numbers, the others at least by their intervals."""
    found = planned(fields)
    if found is None:
        return
    assert found.feasible == bool(found.chosen)
    if found.chosen:
        assert within(found.chosen[0], fields, "itself")
        assert all(within(candidate, fields, "best") for candidate in found.chosen)
    else:
        assert found.binding
    assert all(can_run(candidate, fields) for candidate in (*found.chosen, *found.frontier))
    if found.launch is not None:
        assert (
            faults(found.launch.engine, found.launch.arguments, yaml.safe_load(found.launch.settings), "--config") == ()
        )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests())
def test_an_infeasible_request_becomes_feasible_at_each_named_relaxation(fields: dict[str, Any]) -> None:
    """Each relaxation that stands alone is enough alone; those marked so are enough together."""
    found = planned(fields)
    if found is None or found.feasible:
        return
    for item in found.relaxations:
        if not item.jointly:
            assert getattr(planned(relaxed(fields, (item,))), "feasible", False), item
    together = tuple(item for item in found.relaxations if item.jointly)
    if together:
        assert getattr(planned(relaxed(fields, together)), "feasible", False), together


def relaxed(fields: dict[str, Any], items: tuple[Relaxation, ...]) -> dict[str, Any]:
    """The request with the named values in place of those asked."""
    targets, constraints = dict(fields["targets"]), dict(fields["constraints"])
    workload = dict(fields["workload"])
    for item in items:
        if item.limit == "request_rate":
            workload["request_rate"] = item.needed
        elif item.limit == "hardware":
            constraints["hardware"] = f"{item.needed:g}x{constraints['hardware'].split('x', 1)[1]}"
        else:
            (constraints if item.limit in {"max_quality_loss", "budget_monthly"} else targets)[item.limit] = item.needed
    return {**fields, "targets": targets, "constraints": constraints, "workload": workload}


TIGHTER: dict[str, Edit] = {
    "latency": lambda fields: fields["targets"].update(latency_p95=fields["targets"].get("latency_p95", 60_000) * 0.6),
    "quality": lambda fields: fields["constraints"].update(max_quality_loss=0.0),
    "budget": lambda fields: fields["constraints"].update(
        budget_monthly=fields["constraints"].get("budget_monthly", 40_000) * 0.6
    ),
}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests(), st.sampled_from(sorted(TIGHTER)))
def test_tightening_a_limit_never_improves_the_objective(fields: dict[str, Any], which: str) -> None:
    """Fewer candidates can only be as good or worse."""
    tight = {**fields, "targets": dict(fields["targets"]), "constraints": dict(fields["constraints"])}
    TIGHTER[which](tight)
    assert best_score(tight) >= best_score(fields)


def best_score(fields: dict[str, Any]) -> float:
    """The objective of the best candidate within every limit; infinite where there is none."""
    try:
        found, _ = search(*ask(fields))
    except AgentError:
        return float("inf")
    scores = score(found.space, found.judged, found.traffic)[found.judged.met]
    return float(scores.min(initial=np.inf))
