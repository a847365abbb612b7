"""Plans as a person reads them: right arithmetic, right reasons, nothing that cannot run."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from planning.conftest import facts_for
from planning.pairs import pair

from planners.candidates import candidate_at, cost_per_1k
from planners.catalog import find_model, load_prices
from planners.corrections import Corrections
from planners.judge import Z90
from planners.performance.formats import weight_format
from planners.plan import plan as plan_of
from planners.search import search
from planners.sizes import stored_type, weight_bytes
from schemas.command import OptimizeInference
from schemas.correction import OperatingPoint
from schemas.error import AgentError, ErrorCode
from schemas.evidence import Evidence
from schemas.plan import Plan

Answer = Callable[..., Plan]

README: dict[str, Any] = {
    "model": "llama-3-70b",
    "current_perf": {"latency_p95": 2500, "throughput": 10},
    "targets": {"latency_p95": 500, "throughput": 50},
    "constraints": {"max_quality_loss": 0.02, "hardware": "4xA100-80GB", "budget_monthly": 5000},
}


def test_five_thousand_a_month_at_fifty_five_requests_a_second_is_three_and_a_half_cents_per_thousand() -> None:
    """The family's own example: budget 5000 $/month, 55 requests/s, cost_per_1k 0.035."""
    assert cost_per_1k(5000, 55) == pytest.approx(0.0346, abs=0.0001)


def test_the_same_request_gives_the_same_plan_to_the_byte(answer: Answer) -> None:
    """No clock, no chance."""
    assert answer(**README).model_dump_json() == answer(**README).model_dump_json()


def test_the_readmes_example_is_answered_with_what_binds_and_what_would_do(answer: Answer) -> None:
    """An infeasible request gets its nearest feasible values, and those really are feasible."""
    plan = answer(**README)
    if plan.feasible:
        return
    assert plan.relaxations
    assert not plan.chosen
    assert answer(**relaxed(README, plan)).feasible


PLACES = {
    "runpod": {"throughput", "latency_p95"},
    "lambda": {"throughput", "latency_p95", "budget_monthly"},
    "aws": {"throughput", "latency_p95", "budget_monthly"},
}
"""What stands in the way of the README's example by provider: two of them let 80 GB cards by eights only."""


@pytest.mark.parametrize("provider", PLACES)
def test_the_readmes_example_at_three_providers(answer: Answer, provider: str) -> None:
    """Each provider's prices give their own answer: what binds, and the rent that the budget would have to be."""
    fields = {**README, "constraints": {**README["constraints"], "providers": [provider]}}
    assert set(answer(**fields).binding) == PLACES[provider]
    easier = answer(**{**fields, "targets": {"latency_p95": 4000, "throughput": 5}})
    hourly = {
        offer.usd_per_hour
        for key in ("A100-SXM-80GB", "A100-PCIe-80GB")
        for offer in load_prices().select(key, "on-demand", [provider], [])
    }
    if provider == "runpod":
        guess = easier.chosen[0].prediction
        assert guess.cost_monthly_usd is not None
        assert guess.cost_per_1k_usd is not None
        assert guess.cost_monthly_usd.value <= 5000
        rents = {730 * price * machines for price in hourly for machines in range(1, 5)}
        assert any(guess.cost_monthly_usd.value == pytest.approx(rent) for rent in rents)
        # A month has 730 hours, and 5 requests come in each of its seconds.
        assert guess.cost_per_1k_usd.value == pytest.approx(
            guess.cost_monthly_usd.value / (5 * 730 * 3600) * 1000, rel=1e-5
        )
    else:
        assert easier.binding == ("budget_monthly",)
        assert easier.relaxations[0].needed == pytest.approx(730 * min(hourly), rel=1e-5)


def relaxed(fields: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """The request with its first relaxation applied, or all that only do together."""
    first = plan.relaxations[0]
    wanted = [item for item in plan.relaxations if item.jointly] if first.jointly else [first]
    targets, constraints = dict(fields.get("targets", {})), dict(fields.get("constraints", {}))
    workload = dict(fields.get("workload", {}))
    for item in wanted:
        if item.limit == "request_rate":
            workload["request_rate"] = item.needed
        elif item.limit == "hardware":
            constraints["hardware"] = f"{item.needed:g}x{str(constraints['hardware']).split('x', 1)[-1]}"
        else:
            (constraints if item.limit in {"max_quality_loss", "budget_monthly"} else targets)[item.limit] = item.needed
    return {**fields, "targets": targets, "constraints": constraints, "workload": workload}


def test_a_hosts_gpus_are_left_out_aloud() -> None:
    """Engines are installed here for the processor alone: the plan says so, and how to have the GPU planned for."""
    request = OptimizeInference.model_validate(
        {"cmd": "OPTIMIZE_INFERENCE", "model": "SmolLM2-135M", "constraints": {"hardware": "host"}}
    )
    facts = facts_for(request)
    assert facts.host is not None
    seen = replace(facts, host=facts.host.model_copy(update={"gpus": ("NVIDIA H200", "NVIDIA H200")}))
    said = {one.name: one.value for one in plan_of(request, seen).assumptions}
    assert said["GPUs of this host"] == "2 x NVIDIA H200, left out"
    assert "GPUs of this host" not in {one.name for one in plan_of(request, facts).assumptions}


def test_an_interval_is_that_of_the_batch_it_stands_beside() -> None:
    """Others measured Llama-3.1-8B with many requests open: what is known of 256 is not what is known of one."""
    fields = {"cmd": "OPTIMIZE_INFERENCE", "model": "llama-3.1-8b", "constraints": {"hardware": "1xH100-SXM"}}
    request = OptimizeInference.model_validate(fields | {"workload": {"concurrency": 64}})
    found, _ = search(request, facts_for(request))
    spreads = np.where(found.judged.runs, found.judged.spread["tpot"], np.nan)
    cell = int(np.nanargmax(np.nanmax(spreads, axis=1) - np.nanmin(spreads, axis=1)))
    known = np.flatnonzero(found.judged.runs[cell])
    widths = []
    for column in known:
        tpot = candidate_at(found, cell * found.space.batches.size + int(column)).prediction.tpot_ms
        widths.append(math.log(tpot.high / tpot.low))
    assert max(widths) > 1.05 * min(widths)
    assert widths == pytest.approx((2 * Z90 * spreads[cell, known]).tolist(), rel=0.02)


def test_the_host_is_offered_at_least_four_formats_and_none_beyond_the_limit(answer: Answer) -> None:
    """What is tried may straddle the limit, never lie wholly beyond it."""
    plan = answer(model="SmolLM2-135M", constraints={"hardware": "host"})
    assert plan.feasible
    assert len({candidate.strategy.weight_format for candidate in plan.chosen}) >= 4
    assert all(candidate.prediction.quality_loss.low <= 0.02 for candidate in plan.chosen)
    assert all(candidate.strategy.engine == "llama.cpp" for candidate in plan.chosen)
    assert plan.baseline.strategy.weight_format == "F16"


def test_ruled_out_counts_every_candidate_once(answer: Answer) -> None:
    """Considered candidates are either listed for trial or counted under one reason."""
    plan = answer(model="SmolLM2-135M", constraints={"hardware": "host"})
    assert sum(item.count for item in plan.ruled_out) + len(plan.chosen) == pytest.approx(plan.considered, abs=2)


def test_no_eight_bit_floats_on_a100_and_no_awq_on_tpu(answer: Answer) -> None:
    """A choice that the hardware has no kernels for never appears, not even on the frontier."""
    plan = answer(model="llama-3-8b", constraints={"hardware": "A100-80GB"}, targets={"throughput": 2})
    assert all(c.strategy.weight_format not in {"FP8", "NVFP4"} for c in (*plan.chosen, *plan.frontier))
    assert any("FP8" in item.reason for item in plan.ruled_out)
    tpu = answer(model="llama-3-8b", constraints={"hardware": "4xTPU v5e"})
    assert all(c.strategy.weight_format in {"BF16", "W8A8"} for c in (*tpu.chosen, *tpu.frontier))


def test_a_model_that_does_not_fit_names_memory_and_the_hardware_that_would_hold_it(answer: Answer) -> None:
    """405B on one consumer card: more of them, or an error that says so."""
    with pytest.raises(AgentError) as error:
        answer(model="deepseek-v3", constraints={"hardware": "1xRTX3070"})
    assert error.value.code is ErrorCode.INFEASIBLE


def test_a_retired_engine_is_planned_as_its_successor(answer: Answer) -> None:
    """FasterTransformer's maker names TensorRT-LLM."""
    plan = answer(model="llama-3-8b", constraints={"hardware": "A100-80GB", "engines": ["FasterTransformer"]})
    assert plan.chosen[0].strategy.engine == "tensorrt-llm"
    assert any("retired" in item.value for item in plan.assumptions)


def test_an_unknown_engine_is_refused(answer: Answer) -> None:
    """The error lists the known ones."""
    with pytest.raises(AgentError, match=r"vllm.*llama\.cpp"):
        answer(model="llama-3-8b", constraints={"hardware": "L4", "engines": ["warpdrive"]})


def test_current_performance_says_how_long_answers_are(answer: Answer) -> None:
    """Twice the latency today means longer answers; what is stated is never overruled."""
    base = {"model": "llama-3-70b", "constraints": {"hardware": "4xA100-80GB"}}
    short = answer(**base, current_perf={"latency_p95": 1500}).workload
    long = answer(**base, current_perf={"latency_p95": 12000}).workload
    stated = answer(
        **base, current_perf={"latency_p95": 12000}, workload={"input_tokens": 99, "output_tokens": 7}
    ).workload
    assert short.output_tokens < long.output_tokens
    assert (stated.input_tokens, stated.output_tokens) == (99, 7)


def test_a_measured_strategy_shows_its_measurement_and_moves_its_neighbours(answer: Answer) -> None:
    """Measured: replaced. Same engine, other format: shifted the same way, less far."""
    fields = {"model": "SmolLM2-135M", "constraints": {"hardware": "host"}}
    planned = answer(**fields)
    tried, other = planned.chosen[0], planned.chosen[1]
    before = tried.prediction.throughput_rps.value
    corrections = Corrections().with_measurement(
        tried.strategy, pair("throughput_rps", before, before / 2), OperatingPoint.of(planned.workload)
    )
    second = {c.strategy: c for c in answer(corrections, **fields).chosen}
    assert second[tried.strategy].prediction.throughput_rps.evidence is Evidence.MEASURED
    assert second[tried.strategy].prediction.throughput_rps.value == before / 2
    moved = second[other.strategy].prediction.throughput_rps.value / other.prediction.throughput_rps.value
    assert 0.5 < moved < 1.0


def test_a_measured_loss_decides_whether_a_format_stays(answer: Answer) -> None:
    """A format whose measured loss breaks the limit is not offered again."""
    fields = {"model": "SmolLM2-135M", "constraints": {"hardware": "host"}}
    first = answer(**fields)
    tried = first.chosen[0].strategy
    corrections = Corrections().with_measurement(tried, pair("quality_loss", 0.001, 0.3, 0.05), None)
    wanted = (tried.weight_format, tried.importance_matrix)
    again = answer(corrections, **fields)
    assert all((c.strategy.weight_format, c.strategy.importance_matrix) != wanted for c in again.chosen)


@pytest.mark.parametrize(
    ("name", "megabytes"),
    {
        "F16": 270.9,
        "Q8_0": 144.8,
        "Q6_K": 138.4,
        "Q5_K_M": 112.1,
        "Q4_K_M": 105.5,
        "Q3_K_M": 93.5,
        "Q4_0": 91.7,
        "Q2_K": 88.2,
    }.items(),
)
def test_file_sizes_follow_llama_cpps_fallback_for_narrow_models(name: str, megabytes: float) -> None:
    """576 is no multiple of 256, so superblock types fall back: sizes as written by llama.cpp, within 2 %."""
    assert weight_bytes(find_model("SmolLM2-135M"), name) / 1e6 == pytest.approx(megabytes, rel=0.02)


@pytest.mark.parametrize(
    ("name", "gib"),
    [("Q8_0", 7.96), ("Q6_K", 6.14), ("Q5_K_M", 5.33), ("Q4_K_M", 4.58), ("Q3_K_M", 3.74), ("Q2_K", 2.96)],
)
def test_file_sizes_follow_llama_cpps_mixtures(name: str, gib: float) -> None:
    """Llama-3-8B as in llama.cpp's own table, within 2 %."""
    assert weight_bytes(find_model("Llama-3-8B"), name) / 2**30 == pytest.approx(gib, rel=0.02)


def test_fallback_only_where_rows_are_no_multiple_of_a_superblock() -> None:
    """The feed-forward's rows of 1,536 keep their type."""
    assert (stored_type("Q4_K", 576), stored_type("Q4_K", 1536)) == ("Q5_0", "Q4_K")
    assert weight_format("Q4_K_M").bits < 5


def test_a_batch_job_is_planned_for_throughput_alone(answer: Answer) -> None:
    """All queued at once: the cheapest work, not the fastest answer."""
    plan = answer(model="llama-3-8b", constraints={"hardware": "8xH100"}, workload={"batch_job": True})
    chat = answer(model="llama-3-8b", constraints={"hardware": "8xH100"}, workload={"concurrency": 1})
    assert plan.workload.batch_job
    best = (one.chosen[0].prediction.throughput_rps.value for one in (plan, chat))
    assert next(best) > next(best)


def test_requests_longer_than_the_models_context_are_refused(answer: Answer) -> None:
    """The error names the field and the model's own limit."""
    with pytest.raises(AgentError, match=r"workload: 4000 tokens in .* 2048") as error:
        answer(
            model="tinyllama-1.1b", constraints={"hardware": "L4"}, workload={"input_tokens": 4000, "output_tokens": 10}
        )
    assert error.value.code is ErrorCode.INVALID_COMMAND


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "llama-3-8b", "constraints": {"hardware": "L4"}},
        {"model": "llama-3-8b", "constraints": {"hardware": "any"}, "workload": {"batch_job": True}},
        {"model": "llama-3-8b", "constraints": {"hardware": "L4"}, "targets": {"throughput": 0}},
        {"model": "llama-3-8b", "constraints": {"hardware": "L4"}, "targets": {"throughput": 1e9, "latency_p99": 0.01}},
        {"model": "llama-3-8b", "constraints": {"hardware": "L4", "budget_monthly": 0}},
        {"model": "llama-3-8b", "constraints": {"hardware": "L4", "providers": ["nobody"], "budget_monthly": 100}},
        {"model": "SmolLM2-135M", "constraints": {"hardware": "host"}, "workload": {"concurrency": 1000}},
        {"model": "SmolLM2-135M", "constraints": {"hardware": "host"}, "targets": {"throughput": 500}},
        {
            "model": "SmolLM2-135M",
            "constraints": {"hardware": "host"},
            "workload": {"input_tokens": 1, "output_tokens": 1},
        },
        {"model": "gpt-oss-20b", "constraints": {"hardware": ["L40S", "2xRTX5090"]}, "targets": {"ttft_p99": 900}},
        {"model": "llama-3-8b", "constraints": {"hardware": "L4", "engines": ["onnx"]}, "targets": {"throughput": 1}},
    ],
    ids=str,
)
def test_odd_requests_get_an_answer_or_a_typed_error(answer: Answer, fields: dict[str, Any]) -> None:
    """Feasible with a choice, infeasible with what binds, or an error with its code; never a crash."""
    try:
        plan = answer(**fields)
    except AgentError as error:
        assert error.code in {ErrorCode.UNSUPPORTED, ErrorCode.INFEASIBLE}  # noqa: PT017 - an answer is fine too
        return
    assert plan.feasible == bool(plan.chosen)
    assert plan.feasible or plan.binding
    assert plan.verdict


def test_an_engine_that_its_makers_leave_is_planned_only_where_it_is_named(answer: Answer) -> None:
    """TGI appears in no plan by itself; asked for by name it is planned, with what its makers say of it."""
    fields = {"model": "llama-3.1-8b", "targets": {"throughput": 2}, "constraints": {"hardware": "1xL40S"}}
    plan = answer(**fields)
    assert all(one.strategy.engine != "tgi" for one in (plan.baseline, *plan.chosen, *plan.frontier))
    named = answer(**{**fields, "constraints": {"hardware": "1xL40S", "engines": ["tgi"]}})
    assert {one.strategy.engine for one in named.chosen} == {"tgi"}
    assert any("only maintained" in item.value for item in named.assumptions)


def test_quality_gives_way_last(answer: Answer) -> None:
    """Where a budget has to give way, the loss that was asked for stays: no better rate is bought with quality."""
    fields = {**README, "constraints": {**README["constraints"], "providers": ["lambda"]}}
    assert {item.limit for item in answer(**fields).relaxations} == {"throughput", "latency_p95", "budget_monthly"}
