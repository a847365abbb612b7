"""What a plan offers is what an expert would: no copy of a copy, nothing hopeless, nothing that buys nothing."""

import numpy as np
from planning.conftest import Answer, facts_for

from planners.search import search
from schemas.command import OptimizeInference


def test_a_model_published_in_fp8_is_not_copied_into_other_eight_bits_where_fp8_runs(answer: Answer) -> None:
    """On an H200 FP8 and 4 bits are left; on an A100, which has no FP8 arithmetic, INT8 is a way."""
    plan = answer(model="deepseek-r1", constraints={"hardware": "8xH200"}, targets={"throughput": 2})
    offered = {one.strategy.weight_format for one in (*plan.chosen, *plan.frontier)}
    assert not offered & {"W8A8", "BNB-INT8", "INT8", "BF16", "NF4", "Q8_0"}
    older = answer(model="deepseek-r1", constraints={"hardware": "16xA100-80GB"}, targets={"throughput": 0.2})
    assert "W8A8" in {one.strategy.weight_format for one in (*older.chosen, *older.frontier)}


def test_where_nothing_may_be_lost_only_what_loses_nothing_is_offered(answer: Answer) -> None:
    """No measured interval's upper end would be within zero."""
    plan = answer(model="llama-3-8b", constraints={"hardware": "L4", "max_quality_loss": 0}, targets={"throughput": 1})
    assert all(one.prediction.quality_loss.value == 0 for one in plan.chosen)


def test_an_alternative_is_better_than_today_in_something(answer: Answer) -> None:
    """Elsewhere than on this host a trial costs a machine: what is slower, rarer and no cheaper is left out."""
    plan = answer(
        model="llama-3-8b",
        constraints={"hardware": "8xH100"},
        workload={"input_tokens": 2000, "output_tokens": 100, "batch_job": True},
    )
    now = plan.baseline.prediction
    for one in plan.chosen[1:]:
        then = one.prediction
        assert (
            then.latency_p95_ms.value < now.latency_p95_ms.value or then.throughput_rps.value > now.throughput_rps.value
        )


def test_a_batch_job_gains_nothing_from_guesses(answer: Answer) -> None:
    """A saturated server has no idle arithmetic to check them with, and the plan does not offer them."""
    plan = answer(
        model="llama-3.1-8b",
        constraints={"hardware": "1xH100"},
        workload={"input_tokens": 2000, "output_tokens": 100, "batch_job": True},
    )
    assert plan.chosen[0].strategy.speculation == "none"
    assert all(item.limit != "speculation" for item in plan.sensitivity)


def test_a_prompt_without_chunks_is_one_pass() -> None:
    """Its activations take the room of the whole prompt, not of a chunk."""
    request = {"cmd": "OPTIMIZE_INFERENCE", "model": "llama-3.1-8b", "constraints": {"hardware": "1xH100"}}
    asked = OptimizeInference.model_validate(
        {**request, "targets": {"throughput": 0.1}, "workload": {"input_tokens": 60000, "output_tokens": 100}}
    )
    found, _ = search(asked, facts_for(asked))
    whole = found.space.chunked == 0
    memory = found.served.footprint.activations_gb[:, 0]
    vllm = np.array([group.engine == "vllm" for group in found.space.groups])[found.space.group]
    assert memory[whole & vllm].min() > 5 * memory[~whole & vllm].max()
