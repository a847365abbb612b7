"""Whatever a plan starts, its engine's launcher takes: flags, values, settings files, containers."""

import json
from dataclasses import replace

import pytest
import yaml

from benchmarks.launches import MODELS, every_setting, strategy
from planners.arguments import faults, published
from planners.catalog import find_model, hardware
from planners.kernels import kernel_choices
from planners.launch import launch_of
from planners.support import engines, rules
from planners.tables import table, words
from schemas.model import ModelFacts
from schemas.plan import Launch, Strategy

LIBRARIES = {"onnxruntime", "ctranslate2"}
DEVICES = {item.key: item for item in hardware()}
LLAMA, DEEPSEEK, SELECTING = (find_model(name) for name in MODELS)


def started(plan: Strategy, model: ModelFacts = LLAMA) -> Launch:
    """How it is started; engines with a server always can be."""
    found = launch_of(plan, model, DEVICES[plan.accelerator])
    assert found is not None
    return found


def refused(launch: Launch) -> tuple[str, ...]:
    """What the launcher would say against it."""
    return faults(launch.engine, launch.arguments, yaml.safe_load(launch.settings), "--config")


@pytest.mark.parametrize("engine", sorted(set(engines()) - LIBRARIES))
def test_every_launcher_takes_whatever_a_plan_can_choose(engine: str) -> None:
    """On every accelerator of the catalog, for dense, latent and selected attention; nothing is refused."""
    tried = 0
    for accelerator in hardware():
        for model in (LLAMA, DEEPSEEK, SELECTING):
            for plan in every_setting(engine, accelerator, model):
                assert refused(started(plan, model)) == (), plan
                tried += 1
    assert tried


def test_neuron_counts_cores_and_gets_every_chip() -> None:
    """A chip has two cores, which tensor parallelism counts; the container is given each chip's device."""
    plan = strategy("neuron", "Inferentia2").model_copy(update={"count": 2, "tensor_parallel": 2})
    found = started(plan)
    assert found.arguments[:2] == ("--tensor-parallel-size", "4")
    assert found.container is not None
    assert found.container.host_options == ("--device", "/dev/neuron0", "--device", "/dev/neuron1")


@pytest.mark.parametrize(("key", "told"), [("V100-32GB", True), ("T4", True), ("A100-SXM-80GB", False)])
def test_devices_without_bf16_are_told_so(key: str, told: bool) -> None:  # noqa: FBT001 - a table of cases
    """BF16 checkpoints are refused there by vLLM unless 16-bit floats are asked for."""
    assert ("--dtype float16" in " ".join(started(strategy("vllm", key)).arguments)) == told


@pytest.mark.parametrize(
    ("model", "kv", "kernels"),
    [
        (DEEPSEEK, "FP16", "FLASH_ATTN_MLA"),
        (DEEPSEEK, "FP8", "FLASHMLA"),
        (SELECTING, "FP16", "FLASH_ATTN_MLA_SPARSE"),
        (SELECTING, "FP8", "FLASHMLA_SPARSE"),
    ],
)
def test_attention_kernels_hold_the_cache_of_the_plan(model: ModelFacts, kv: str, kernels: str) -> None:
    """On Hopper: FlashAttention 3 has no FP8 cache of latents; DeepSeek-V3.2 attends to selected tokens alone."""
    found = started(strategy("vllm", "H200-SXM", kv_format=kv), model)
    assert f"--attention-backend {kernels}" in " ".join(found.arguments)


def test_engines_without_kernels_for_selected_tokens_are_not_planned() -> None:
    """DeepSeek-V3.2 on Ampere: of the engines on GPUs, llama.cpp alone has them there."""
    ampere, hopper = DEVICES["A100-SXM-80GB"], DEVICES["H200-SXM"]
    able = {name: [engine.attends(SELECTING, one) for one in (ampere, hopper)] for name, engine in engines().items()}
    assert [able[name] for name in ("vllm", "sglang", "tensorrt-llm")] == [[False, True]] * 3
    assert able["llama.cpp"] == [True, True]
    assert all(engine.attends(DEEPSEEK, ampere) for engine in engines().values())


@pytest.mark.parametrize("engine", sorted(LIBRARIES))
def test_libraries_have_no_server_of_their_own(engine: str) -> None:
    """Nothing is invented for them."""
    assert launch_of(strategy(engine, "H100-SXM"), LLAMA, DEVICES["H100-SXM"]) is None


@pytest.mark.parametrize(
    ("words_", "fault"),
    [
        (["--tensor-parallel-sizes", "2"], "--tensor-parallel-sizes is not published"),
        (["--tensor-parallel-size"], "lacks its value"),
        (["--tensor-parallel-size", "two"], "takes a whole number"),
        (["--gpu-memory-utilization", "most"], "takes a number"),
        (["--enable-chunked-prefill", "yes"], "takes no value"),
        (["--scheduling-policy", "lifo"], "takes fcfs, priority"),
        (["--kv-cache-dtype", "int7"], "takes auto"),
        (["--tensor-parallel-size", "2", "4"], "takes 1 value"),
        (["--speculative-config", "ngram"], "takes JSON"),
        (["--speculative-config", '{"methods":"ngram"}'], "--speculative-config.methods is not published"),
        (["--speculative-config", '{"method":"oracle"}'], "--speculative-config.method takes"),
        (["--compilation-config", '{"max_cudagraph_capture_size":"many"}'], "takes a whole number"),
        (["--quantization", "bitsandbytes"], "--quantization takes"),
        (["model"], "follows no flag"),
    ],
)
def test_a_wrong_command_line_is_told_apart(words_: list[str], fault: str) -> None:
    """Unknown flags and keys, values that are missing, too many, of another kind, or not among those allowed."""
    assert any(fault in one for one in faults("vllm", words_)), faults("vllm", words_)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"kv_cache_config": {"dtypes": "fp8"}}, "--config.kv_cache_config.dtypes is not published"),
        ({"kv_cache_config": {"dtype": "int8"}}, "takes auto, fp8, nvfp4"),
        ({"disable_overlap_scheduler": "yes"}, "takes true or false"),
        ({"cuda_graph_config": {"max_batch_size": 0.5}}, "takes a whole number"),
    ],
)
def test_a_wrong_settings_file_is_told_apart(settings: dict[str, object], fault: str) -> None:
    """Keys of TensorRT-LLM's file are held against its published ones too."""
    assert any(fault in one for one in faults("tensorrt-llm", [], settings, "--config"))


def test_removed_flags_of_llama_cpp_are_not_known() -> None:
    """`--draft-max` is in its help only to say that it is gone."""
    assert "--draft-max" not in published("llama.cpp")
    assert "--spec-draft-n-max" in published("llama.cpp")


@pytest.mark.parametrize("row", table("arguments")[::97], ids=lambda row: f"{row['engine']} {row['flag']}")
def test_published_arguments_name_their_version_and_source(row: dict[str, str]) -> None:
    """Facts, each with where it is from; the version is the one that plans are made for."""
    assert row["source"]
    assert row["version"].startswith(engines()[row["engine"]].version)


@pytest.mark.parametrize("row", table("kernels"), ids=lambda row: f"{row['engine']} {row['setting']} {row['value']}")
def test_every_kernel_choice_can_be_reached(row: dict[str, str]) -> None:
    """No row hides behind an earlier one on all of its devices."""
    needs = set(words(row["devices"])) or {"avx2"}
    reached = [
        choice
        for item in hardware()
        if needs & set(item.features)
        for model in map(find_model, (*MODELS, "gpt-oss-20b", "llama-4-scout", "olmo-2-7b", "phi-3-mini"))
        for kv in ("FP16", "FP8", "INT8", "Q8_0")
        for ahead in ("none", "draft")
        for choice in kernel_choices(strategy(row["engine"], item.key, kv_format=kv, speculation=ahead), model, item)
    ]
    assert any((choice.setting, choice.why) == (row["setting"], row["why"]) for choice in reached)


@pytest.mark.parametrize(
    ("engine", "device", "kernel"),
    [
        ("vllm", "H100-SXM", "FLASH_ATTN"),
        ("vllm", "B200", "FLASHINFER"),
        ("vllm", "A100-SXM-80GB", "FLASH_ATTN"),
        ("vllm", "MI300X", "ROCM_AITER_FA"),
        ("vllm", "T4", "TRITON_ATTN"),
        ("sglang", "H100-SXM", "fa3"),
        ("sglang", "B200", "trtllm_mha"),
        ("sglang", "MI300X", "aiter"),
    ],
)
def test_attention_fits_the_device(engine: str, device: str, kernel: str) -> None:
    """FlashAttention 3 on Hopper, FlashInfer on Blackwell, FlashAttention 2 on Ampere, AMD's own on CDNA 3."""
    launch = started(strategy(engine, device))
    assert launch.arguments[launch.arguments.index("--attention-backend") + 1] == kernel
    assert [choice.why for choice in launch.kernels if choice.setting == "attention"]


def test_attention_fits_the_architecture_too() -> None:
    """Sinks need FlashAttention 3 or Triton, heads of 96 no FlashInfer, and SGLang refuses FlashInfer for Llama 4."""
    sinks = started(strategy("vllm", "L40S", weight_format="MXFP4"), find_model("gpt-oss-20b")).arguments
    assert sinks[sinks.index("--attention-backend") + 1] == "TRITON_ATTN"
    narrow = started(strategy("vllm", "B200"), find_model("phi-3-mini")).arguments
    assert narrow[narrow.index("--attention-backend") + 1] == "FLASH_ATTN"
    chunked = started(strategy("sglang", "L40S"), find_model("llama-4-scout")).arguments
    assert chunked[chunked.index("--attention-backend") + 1] == "triton"


def test_an_int8_cache_takes_the_only_back_end_that_has_it() -> None:
    """On an A100, which has no FP8 arithmetic."""
    launch = started(strategy("vllm", "A100-SXM-80GB", kv_format="INT8"))
    assert launch.arguments[launch.arguments.index("--attention-backend") + 1] == "TRITON_ATTN"
    assert launch.arguments[launch.arguments.index("--kv-cache-dtype") + 1] == "int8_per_token_head"


def test_vllm_without_chunks_takes_a_whole_prompt_in_one_iteration() -> None:
    """Else it refuses to start: max_num_batched_tokens must reach max_model_len."""
    found = started(strategy("vllm", "H100-SXM", context=9000, batched_tokens=2048, chunked_prefill=False)).arguments
    assert found[found.index("--max-num-batched-tokens") + 1] == "9000"


def test_a_draft_is_named_to_each_engine_in_its_own_way() -> None:
    """vLLM by JSON, SGLang by flags, TensorRT-LLM in its file, llama.cpp by a file beside the weights."""  # noqa: D403
    draft: dict[str, object] = {"speculation": "draft", "draft": "meta-llama/Llama-3.2-1B-Instruct", "guesses": 4}
    vllm = started(strategy("vllm", "H100-SXM", **draft)).arguments
    assert json.loads(vllm[vllm.index("--speculative-config") + 1]) == {
        "method": "draft_model",
        "num_speculative_tokens": 4,
        "model": "meta-llama/Llama-3.2-1B-Instruct",
    }
    sglang = started(strategy("sglang", "H100-SXM", **draft)).arguments
    assert sglang[sglang.index("--speculative-algorithm") + 1] == "STANDALONE"
    assert sglang[sglang.index("--speculative-num-draft-tokens") + 1] == "5"
    settings = yaml.safe_load(started(strategy("tensorrt-llm", "H100-SXM", **draft)).settings)
    assert settings["speculative_config"]["decoding_type"] == "DraftTarget"
    llama = started(strategy("llama.cpp", "H100-SXM", weight_format="Q4_K_M", **draft)).arguments
    assert llama[llama.index("--model-draft") + 1] == "/model/Llama-3.2-1B-Instruct-Q8_0.gguf"


def test_graphs_are_captured_up_to_the_batch_limit_on_gpus_only() -> None:
    """A batch without its graph pays for every launch again; a CPU has none."""
    found = started(strategy("vllm", "L4")).arguments
    assert json.loads(found[found.index("--compilation-config") + 1]) == {
        "mode": 3,
        "cudagraph_mode": "FULL_AND_PIECEWISE",
        "max_cudagraph_capture_size": 24,
    }
    assert "--compilation-config" not in started(strategy("vllm", "Xeon-SPR")).arguments


def test_llama_cpp_reserves_a_context_for_each_slot() -> None:
    """`--ctx-size` is shared by all slots; a quantised value cache needs flash attention; a CPU offloads nothing."""
    plan = strategy("llama.cpp", "Xeon-SPR", weight_format="Q8_0", max_sequences=4, kv_format="Q8_0")
    found = started(plan).arguments
    assert found[found.index("--ctx-size") + 1] == "8192"
    assert found[found.index("--flash-attn") + 1] == "on"
    assert "--n-gpu-layers" not in found
    assert "--n-gpu-layers" in started(plan.model_copy(update={"accelerator": "L4"})).arguments


def test_engines_built_ahead_take_no_settings_of_the_other_back_end() -> None:
    """TensorRT-LLM's INT8 weights run from built engines, whose arguments forbid the keys of the PyTorch back end."""
    launch = started(strategy("tensorrt-llm", "A100-SXM-80GB", weight_format="W8A8"))
    assert launch.settings == ""
    assert launch.arguments[launch.arguments.index("--backend") + 1] == "tensorrt"


@pytest.mark.parametrize("engine", sorted(set(engines()) - LIBRARIES))
def test_a_container_runs_what_the_arguments_say(engine: str) -> None:
    """The maker's image by a tag, the devices, the arguments last; wherever the engine has an image for the device."""
    made = 0
    for accelerator in hardware():
        if any(rule.engine == engine and rule.runs_on(accelerator) for rule in rules()):
            launch = started(strategy(engine, accelerator.key))
            if launch.container is not None:
                made += 1
                run = launch.container.docker_run
                assert run[:2] == ("docker", "run")
                assert ":" in launch.container.image
                assert run[-len(launch.arguments) :] == launch.arguments
                assert ("--config" in run) == any(word.startswith("SETTINGS:") for word in run)
    assert made


def test_a_container_carries_the_environment() -> None:
    """AMD's kernels are off unless a variable asks for them."""
    launch = started(strategy("vllm", "MI300X"))
    assert launch.container is not None
    run = launch.container.docker_run
    assert run[run.index("--env") + 1] == "VLLM_ROCM_USE_AITER=1"
    assert "/dev/kfd" in run


def test_replaced_arguments_are_seen() -> None:
    """The check reads what it is given: one changed word is one fault."""
    launch = started(strategy("sglang", "H100-SXM"))
    broken = tuple("nonsense" if word == "fa3" else word for word in launch.arguments)
    assert len(refused(launch.model_copy(update={"arguments": broken}))) == 1
    assert replace(published("sglang")["--attention-backend"], choices=()).choices == ()
