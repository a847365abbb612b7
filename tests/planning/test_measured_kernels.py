"""Plans on measured kernels: where the database knows a layout its figures say so, and they decide like any other.

The database is optional. A double of its tables shows what plans make of them; the real one is asked where it is
installed, and where it is not, the plan has to say that.
"""

import numpy as np
import pytest
from planning.conftest import facts_for

from planners.performance import measured
from planners.performance.kernels import POINTS, Kernels
from planners.performance.published import Condition
from planners.performance.silicon import available
from planners.plan import plan
from planners.search import search
from schemas.command import OptimizeInference
from schemas.evidence import Evidence
from schemas.plan import Plan

SEVENTY = {
    "cmd": "OPTIMIZE_INFERENCE",
    "model": "llama-3.1-70b",
    "targets": {"throughput": 2},
    "constraints": {"hardware": "4xH100-SXM", "engines": ["tensorrt-llm", "vllm"]},
    "workload": {"input_tokens": 500, "output_tokens": 200},
}
FAST_S, SLOW_S = 0.004, 0.08


def asked(*, silicon: bool, **changes: object) -> Plan:
    """The plan for the request, with or without measured kernels."""
    request = OptimizeInference.model_validate(SEVENTY | changes)
    return plan(request, facts_for(request, silicon=silicon))


def tables(fast: str) -> object:
    """A database that knows TensorRT-LLM and vLLM everywhere, one of them much faster than the other."""

    def kernels_of(cases: list[Condition]) -> Kernels:
        step = np.array([FAST_S if case.engine == fast else SLOW_S for case in cases])
        return Kernels(np.repeat(step[:, None], POINTS.size, axis=1), step, step)

    return kernels_of


@pytest.mark.parametrize("fast", ["tensorrt-llm", "vllm"])
def test_measured_kernels_decide_the_order(monkeypatch: pytest.MonkeyPatch, fast: str) -> None:
    """The engine that the tables make fast is chosen; where no published row is near its figures are of silicon."""
    monkeypatch.setattr(measured, "kernels_of", tables(fast))
    found = asked(silicon=True, model="qwen2.5-72b")
    first = found.chosen[0]
    assert first.strategy.engine == fast
    assert first.prediction.tpot_ms.evidence is Evidence.SILICON
    assert first.prediction.throughput_rps.evidence is Evidence.SILICON
    assert first.prediction.throughput_rps.source == "aiconfigurator-core"
    assert first.prediction.ttft_p95_ms.evidence is Evidence.CALIBRATED
    assert any((item.name, item.value) == ("measured kernels", "aiconfigurator-core") for item in found.assumptions)


def test_figures_among_published_rows_stand_on_these(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of Llama-3.1-70B in vLLM on H100 are many: kernels ten times as slow change little, and it says so."""
    monkeypatch.setattr(measured, "kernels_of", tables("neither"))
    only = {"constraints": {"hardware": "4xH100-SXM", "engines": ["vllm"]}}
    plain, joined = (asked(silicon=silicon, **only).chosen[0].prediction.tpot_ms for silicon in (False, True))
    assert joined.evidence is Evidence.CALIBRATED
    assert plain.value < joined.value < 1.5 * plain.value


def test_times_per_token_lie_between_kernels_and_physics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that are slower than the physics says lengthen a step of one sequence, and not all of the way."""
    monkeypatch.setattr(measured, "kernels_of", tables("neither"))
    request = OptimizeInference.model_validate(SEVENTY)
    plain, joined = (search(request, facts_for(request, silicon=silicon))[0].served for silicon in (False, True))
    known = joined.step_evidence == Evidence.SILICON
    alone = joined.replica.step_s[known, 0]
    assert alone.size
    assert np.all(alone > plain.replica.step_s[known, 0])
    assert np.all(alone < SLOW_S)


def test_the_same_facts_give_the_same_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the database may be asked is a fact; without it nothing is of silicon and the plan says why."""
    monkeypatch.setattr(measured, "kernels_of", tables("vllm"))
    assert asked(silicon=True) == asked(silicon=True)
    plain = asked(silicon=False)
    assert {one.prediction.tpot_ms.evidence for one in plain.frontier} == {Evidence.CALIBRATED}
    assert any((item.name, item.value) == ("measured kernels", "not installed") for item in plain.assumptions)


def test_mixtures_of_experts_take_steps_and_not_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables idealise routing: saturated rates stay with the fitted model."""
    monkeypatch.setattr(measured, "kernels_of", tables("vllm"))
    first = asked(silicon=True, model="mixtral-8x7b").baseline.prediction
    assert first.tpot_ms.evidence is Evidence.SILICON
    assert first.throughput_rps.evidence is Evidence.CALIBRATED


def test_an_int8_cache_is_not_in_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernels were not measured: the fitted model answers."""
    monkeypatch.setattr(measured, "kernels_of", tables("vllm"))
    fields = SEVENTY | {"constraints": {"hardware": "4xA100-SXM-80GB", "engines": ["vllm"]}}
    request = OptimizeInference.model_validate(fields)
    found, _ = search(request, facts_for(request, silicon=True))
    eight = np.array([group.kv_format == "INT8" for group in found.space.groups])[found.space.group]
    fits = found.served.footprint.fits[:, 0]
    assert set(found.served.step_evidence[eight & fits]) == {Evidence.CALIBRATED}
    assert set(found.served.step_evidence[~eight & fits]) == {Evidence.SILICON}


def test_many_kinds_of_hardware_are_planned_without_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading every system's tables takes seconds each: the plan says that it did not."""
    monkeypatch.setattr(measured, "kernels_of", tables("vllm"))
    found = asked(silicon=True, constraints={"hardware": "any"})
    assert any((item.name, item.value) == ("measured kernels", "not asked") for item in found.assumptions)


def test_the_real_database_answers_or_its_absence_is_stated() -> None:
    """Where `inferwright[silicon]` is installed its figures appear; elsewhere the plan names what is missing."""
    request = OptimizeInference.model_validate(SEVENTY)
    found = plan(request, facts_for(request, silicon=available()))
    stated = next(item.value for item in found.assumptions if item.name == "measured kernels")
    evidence = {one.prediction.tpot_ms.evidence for one in found.frontier}
    assert (stated, Evidence.SILICON in evidence) == (
        ("aiconfigurator-core", True) if available() else ("not installed", False)
    )
