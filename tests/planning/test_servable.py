"""On the probed host a plan chooses among what is installed there, and says what is not."""

import pytest
from planning.test_golden import HOST

from planners.catalog import accelerator_from_host, find_model, load_prices
from planners.plan import Facts, plan
from schemas.command import OptimizeInference
from schemas.error import AgentError, ErrorCode
from schemas.hardware import Pool
from schemas.plan import Plan

REQUEST = {"cmd": "OPTIMIZE_INFERENCE", "model": "SmolLM2-135M", "workload": {"concurrency": 2}}


def planned(engines: list[str], servable: frozenset[tuple[str, str]] | None) -> Plan:
    """A plan for this host with these engines allowed, of which these can be carried out."""
    constraints = {"hardware": "host", "max_quality_loss": 0.5, "engines": engines}
    request = OptimizeInference.model_validate({**REQUEST, "constraints": constraints})
    pools = (Pool(accelerator=accelerator_from_host(HOST), count=1),)
    facts = Facts(find_model("SmolLM2-135M"), pools, HOST, load_prices(), silicon=False, servable=servable)
    return plan(request, facts)


def test_only_what_is_installed_is_chosen_and_the_rest_is_named() -> None:
    """An engine that is not here and a format that nothing here makes are among what was ruled out, with the reason."""
    made = planned(["llama.cpp", "openvino", "ctranslate2"], frozenset({("llama.cpp", "Q8_0"), ("openvino", "INT4")}))
    seen = {(item.strategy.engine, item.strategy.weight_format) for item in (*made.chosen, *made.frontier)}
    assert {engine for engine, _ in seen} <= {"llama.cpp", "openvino"}
    assert ("openvino", "INT8") not in seen
    reasons = {item.reason for item in made.ruled_out}
    assert "ctranslate2 is not installed on this machine" in reasons
    assert "nothing that is installed on this machine makes these weights for openvino" in reasons


def test_an_engine_of_this_host_can_be_the_first_choice() -> None:
    """Where it alone is allowed and can be carried out, it is planned, in a format that can be made."""
    made = planned(["openvino"], frozenset({("openvino", "INT8"), ("llama.cpp", "F16")}))
    assert {(item.strategy.engine, item.strategy.weight_format) for item in made.chosen} == {("openvino", "INT8")}


def test_without_names_every_engine_that_is_ready_takes_part() -> None:
    """Each in its own formats, the same format of two engines apart; where nobody asks what is ready, llama.cpp."""
    ready = {("llama.cpp", "Q8_0"), ("llama.cpp", "F16"), ("openvino", "INT8"), ("ctranslate2", "INT8")}
    seen = {(item.strategy.engine, item.strategy.weight_format) for item in planned([], frozenset(ready)).chosen}
    assert {("llama.cpp", "Q8_0"), ("openvino", "INT8"), ("ctranslate2", "INT8")} <= seen
    assert {item.strategy.engine for item in planned([], None).chosen} == {"llama.cpp"}


def test_the_baseline_is_llama_cpps_whichever_engines_are_allowed() -> None:
    """What is untouched on this host is a GGUF file."""
    made = planned(["openvino"], frozenset({("openvino", "INT8"), ("llama.cpp", "F16")}))
    assert (made.baseline.strategy.engine, made.baseline.strategy.weight_format) == ("llama.cpp", "F16")


def test_nothing_to_choose_from_is_unsupported() -> None:
    """The answer says what is missing."""
    with pytest.raises(AgentError, match="openvino is not installed on this machine") as caught:
        planned(["openvino"], frozenset({("llama.cpp", "Q8_0")}))
    assert caught.value.code is ErrorCode.UNSUPPORTED
