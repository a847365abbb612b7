"""Guessed tokens: what they yield, what they cost, who may draft for whom, and where they are chosen."""

import numpy as np
import pytest
from planning.conftest import Answer, facts_for

from planners.catalog import find_model, models
from planners.search import search
from planners.sizes import weight_bytes
from planners.speculation import NONE, Speculation, speculations
from planners.tables import table
from schemas.command import OptimizeInference

ROWS = table("speculation")
SEVENTY = {
    "model": "llama-3.3-70b",
    "constraints": {"hardware": "4xH100-SXM", "engines": ["vllm"]},
    "workload": {"input_tokens": 500, "output_tokens": 300, "concurrency": 1},
}


@pytest.mark.parametrize(("acceptance", "guesses", "tokens"), [(0.6, 5, 2.383), (0.8, 7, 4.161), (0.9, 10, 6.862)])
def test_a_step_yields_what_leviathan_derives(acceptance: float, guesses: int, tokens: float) -> None:
    """Equation 1 of arXiv 2211.17192."""
    assert Speculation("draft", guesses=guesses, acceptance=acceptance).tokens_per_step == pytest.approx(tokens, 1e-3)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row["draft"]], ids=lambda row: f"{row['target']} by {row['draft']}"
)
def test_a_draft_shares_the_vocabulary_and_is_much_smaller(row: dict[str, str]) -> None:
    """At most a quarter of its target, the same family of tokens up to padding, as long a context as a chat needs."""
    known = {model.name: model for model in models()}
    target, draft = known[row["target"]], known[row["draft"]]
    assert draft.parameters <= target.parameters / 4
    assert abs(target.vocab - draft.vocab) <= 128
    assert draft.context >= min(target.context, 4096)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['method']} {row['target']}")
def test_every_acceptance_has_an_interval_and_a_source(row: dict[str, str]) -> None:
    """Guessed, so bounded; never certain."""
    assert 0 <= float(row["low"]) < float(row["acceptance"]) < float(row["high"]) < 1
    assert len(row["source"]) > 20


def test_vllm_refuses_a_draft_with_another_vocabulary_and_llama_cpp_takes_it_padded() -> None:
    """Qwen2.5-72B has 152,064 entries, its 1.5B 151,936."""
    target = find_model("qwen2.5-72b")
    small = next(way for way in speculations(target) if way.draft == "Qwen2.5-1.5B")
    assert not small.drafts_on("vllm", target, 1)
    assert small.drafts_on("llama.cpp", target, 1)


def test_a_single_stream_is_sped_up_by_less_than_a_step_yields() -> None:
    """Drafting and checking cost something: TPOT falls, but not by the whole of the tokens per step."""
    request = OptimizeInference.model_validate({"cmd": "OPTIMIZE_INFERENCE", **SEVENTY})
    found, _ = search(request, facts_for(request))
    space, tpot = found.space, found.judged.latency.tpot[:, 0]
    for number, way in enumerate(space.ahead):
        cells = np.flatnonzero((space.speculation == number) & (space.tp == 4) & (space.pp == 1))
        if way.guesses and cells.size:
            plain = tpot[
                (space.speculation == 0) & (space.tp == 4) & (space.pp == 1) & (space.group == space.group[cells[0]])
            ]
            assert 1 < plain.min() / tpot[cells[0]] < way.tokens_per_step


def test_a_saturated_server_gains_nothing_from_guesses() -> None:
    """Under arrivals no guess raises the capacity."""
    request = OptimizeInference.model_validate({"cmd": "OPTIMIZE_INFERENCE", **SEVENTY, "targets": {"throughput": 4}})
    request = request.model_copy(update={"workload": request.workload.model_copy(update={"concurrency": None})})
    found, _ = search(request, facts_for(request))
    space, capacity = found.space, found.judged.latency.capacity
    fits = found.served.footprint.fits.all(axis=1)
    for cell in np.flatnonzero((space.speculation > 0) & fits):
        twin = (space.speculation == 0) & np.all(
            [getattr(space, name) == getattr(space, name)[cell] for name in ("group", "tp", "pp", "replicas")], axis=0
        )
        twin &= (space.batched_tokens == space.batched_tokens[cell]) & (space.chunked == space.chunked[cell])
        assert np.all(capacity[cell] <= capacity[twin].max(axis=0) * (1 + 1e-9))


def test_the_drafts_weights_and_cache_are_counted() -> None:
    """What drafts lies in the same memory."""
    request = OptimizeInference.model_validate({"cmd": "OPTIMIZE_INFERENCE", **SEVENTY})
    found, _ = search(request, facts_for(request))
    space, memory = found.space, found.served.footprint
    number, way = next((n, way) for n, way in enumerate(space.ahead) if way.draft == "Llama-3.1-8B")
    assert way.head is not None
    cell = int(np.flatnonzero(space.speculation == number)[0])
    twin = int(np.flatnonzero((space.speculation == 0) & (space.group == space.group[cell]))[0])
    more = memory.weights_gb[cell, 0] - memory.weights_gb[twin, 0]
    assert more == pytest.approx(weight_bytes(way.head, "BF16") / 1e9)
    assert memory.kv_cache_gb[cell, 0] > memory.kv_cache_gb[twin, 0]


def test_guesses_are_chosen_where_nothing_else_meets_the_limit(answer: Answer) -> None:
    """A TPOT below what the memory streams: a draft meets it, marked assumed, with what it rests on."""
    tight = answer(
        **{**SEVENTY, "constraints": {**SEVENTY["constraints"], "max_quality_loss": 0.0}}, targets={"tpot_p50": 12}
    )
    first = tight.chosen[0]
    assert first.strategy.speculation in {"draft", "eagle3"}
    assert first.prediction.tpot_ms.evidence == "assumed"
    assert any("each accepted with a chance of" in reason for reason in first.reasons)
    assert first.strategy.draft in tight.handoffs[0].work


def test_guesses_are_not_chosen_for_latency_that_nobody_asked_for(answer: Answer) -> None:
    """Where a plain strategy meets every limit at the same rent, guesses are named under what more would buy."""
    found = answer(
        model="llama-3.1-8b",
        targets={"throughput": 5, "tpot_p95": 12},
        constraints={"hardware": "1xH100-SXM"},
        workload={"input_tokens": 600, "output_tokens": 120},
    )
    assert found.chosen[0].strategy.speculation == "none"
    assert any(item.limit == "speculation" for item in found.sensitivity)


def test_deepseeks_own_module_is_one_more_layer() -> None:
    """14B with its embeddings as published (DeepSeek-V3 README: 671B main, 14B module; both embeddings shared)."""
    way = next(way for way in speculations(find_model("deepseek-v3")) if way.method == "mtp")
    assert way.head is not None
    assert way.head.parameters == pytest.approx(12.5e9, rel=0.05)


def test_an_unknown_model_guesses_from_its_own_text_alone() -> None:
    """No published draft, none assumed."""
    model = find_model("falcon-7b")
    assert [way.method for way in speculations(model)] == [NONE.method, "ngram"]
