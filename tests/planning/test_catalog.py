"""Names as people write them find the right facts, and every fact has its source."""

import json
from pathlib import Path

import pytest

from benchmarks.weightless import write_folder
from planners.catalog import (
    accelerator_from_host,
    find_hardware,
    find_model,
    hardware,
    model_from_config,
    models,
)
from planners.support import refusal
from planners.tables import table
from schemas.error import AgentError, ErrorCode
from schemas.hardware import HostFacts
from schemas.model import Attention

TABLES = ("prices", "support", "engines", "speculation", "kernels", "containers", "arguments", "formats")


def test_at_least_sixty_models_have_facts_and_sources() -> None:
    """The catalog is as large as promised and no row lacks its source."""
    assert len(models()) >= 60
    assert all(model.source for model in models())
    assert all(item.source for item in hardware())
    assert all(row["source"] for name in TABLES for row in table(name))


@pytest.mark.parametrize("row", table("models"), ids=lambda row: row["name"])
def test_counted_parameters_agree_with_the_published_number(row: dict[str, str]) -> None:
    """A wrong shape in the data would show: every count is within 1 % of the model card's."""
    assert find_model(row["name"]).parameters / 1e9 == pytest.approx(float(row["published_b"]), rel=0.01)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("llama-3-70b", "Llama-3-70B"),
        ("meta-llama/Meta-Llama-3.1-70B-Instruct", "Llama-3.1-70B"),
        ("llama2-70b-99", "Llama-2-70B"),
        ("Llama 2 7B Chat", "Llama-2-7B"),
        ("LLaMA-7B", "Llama-1-7B"),
        ("mixtral-8x7b", "Mixtral-8x7B"),
        ("Qwen/Qwen3-235B-A22B-Instruct-2507", "Qwen3-235B-A22B"),
        ("deepseek-ai/DeepSeek-R1", "DeepSeek-R1"),
        ("openai/gpt-oss-120b", "gpt-oss-120b"),
        ("SmolLM2-135M-Instruct", "SmolLM2-135M"),
        ("Mistral-7B-Instruct-v0.2", "Mistral-7B-v0.2"),
        ("gptj-99.9", "GPT-J-6B"),
    ],
)
def test_models_are_found_by_the_names_people_write(written: str, meant: str) -> None:
    """Owner, case, punctuation and tuning do not matter; versions do."""
    assert find_model(written).name == meant


def test_an_unknown_model_is_answered_with_near_names_and_the_way_to_give_facts() -> None:
    """The error says what to do next."""
    with pytest.raises(AgentError, match=r"Llama-3-70B.*config\.json") as error:
        find_model("lama-3-70b")
    assert error.value.code is ErrorCode.UNKNOWN_MODEL


@pytest.mark.parametrize(
    ("written", "key", "count"),
    [
        ("4xA100-80GB", "A100-SXM-80GB", 4),
        ("8x H200", "H200-SXM", 8),
        ("2 x RTX 4090", "RTX4090", 2),
        ("NVIDIA L40S", "L40S", 1),
        ("MI300X", "MI300X", 1),
        ("TPU v5e", "TPU-v5e", 1),
        ("inf2", "Inferentia2", 1),
        ("Xeon-8592+ (EMR)", "Xeon-8592+ (EMR)", 1),
        ("4090x2", "RTX4090", 2),
    ],
)
def test_hardware_is_found_by_the_tags_people_write(written: str, key: str, count: int) -> None:
    """Counts before or after, spaces or none, maker or none."""
    pool = find_hardware(written)[0]
    assert (pool.accelerator.key, pool.count) == (key, count)


def test_a_tag_that_several_variants_share_offers_each_of_them() -> None:
    """80 GB of A100 come as SXM and as PCIe: the plan may choose."""
    assert [pool.accelerator.key for pool in find_hardware("4xA100-80GB")] == ["A100-SXM-80GB", "A100-PCIe-80GB"]


def test_any_offers_every_accelerator_and_a_list_those_named() -> None:
    """`any` is the whole catalog."""
    assert len(find_hardware("any")) == len(hardware())
    assert [pool.accelerator.key for pool in find_hardware(["L4", "2xL40S"])] == ["L4", "L40S"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("NVIDIA H100 80GB HBM3", "H100-SXM"),
        ("NVIDIA H200", "H200-SXM"),
        ("NVIDIA A100-SXM4-40GB", "A100-SXM-40GB"),
        ("NVIDIA A100 80GB PCIe", "A100-PCIe-80GB"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("Tesla T4", "T4"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX-6000-Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX-PRO-6000"),
        ("NVIDIA GB10", "DGX-Spark"),
    ],
)
def test_gpus_are_known_by_the_name_that_nvidia_smi_prints(name: str, key: str) -> None:
    """Its `--query-gpu=name`, pasted; the first two were read off such machines."""
    assert [pool.accelerator.key for pool in find_hardware(name)] == [key]


def test_unknown_hardware_is_answered_with_near_names() -> None:
    """The error says how to write it."""
    with pytest.raises(AgentError, match=r"near: .*H100.*4xA100-80GB") as error:
        find_hardware("4xH1000")
    assert error.value.code is ErrorCode.UNKNOWN_HARDWARE


def test_config_json_gives_the_same_facts_as_the_catalog() -> None:
    """What the catalog says of Llama-3-8B is what its own config says."""
    config = {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 128256,
        "max_position_embeddings": 8192,
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": False,
    }
    read, known = model_from_config(config, "x"), find_model("Llama-3-8B")
    assert read.model_copy(update={"name": known.name, "source": known.source}) == known


@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-32b", "qwen3-30b-a3b"])
def test_weights_of_no_meaning_have_the_shapes_of_the_model(name: str, tmp_path: Path) -> None:
    """The folder that `benchmarks/gpu.py` has timed says of itself what the catalog says of the model."""
    model = find_model(name)
    write_folder(model, tmp_path)
    read = model_from_config(json.loads((tmp_path / "config.json").read_text()), name)
    assert (read.parameters, read.active_parameters, read.experts) == (
        model.parameters,
        model.active_parameters,
        model.experts,
    )
    words = json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"]
    assert len(words) == model.vocab


def test_config_json_of_experts_latents_and_windows_is_understood() -> None:
    """MoE with MLA and an indexer (DeepSeek-V3.2), and a window on every second layer (gpt-oss)."""
    deep = model_from_config(
        {
            "model_type": "deepseek_v3",
            "hidden_size": 7168,
            "num_hidden_layers": 61,
            "num_attention_heads": 128,
            "num_key_value_heads": 128,
            "head_dim": 128,
            "intermediate_size": 18432,
            "moe_intermediate_size": 2048,
            "n_routed_experts": 256,
            "num_experts_per_tok": 8,
            "n_shared_experts": 1,
            "first_k_dense_replace": 3,
            "kv_lora_rank": 512,
            "qk_rope_head_dim": 64,
            "q_lora_rank": 1536,
            "qk_nope_head_dim": 128,
            "v_head_dim": 128,
            "index_topk": 2048,
            "index_n_heads": 64,
            "index_head_dim": 128,
            "vocab_size": 129280,
            "max_position_embeddings": 163840,
            "quantization_config": {"quant_method": "fp8"},
        }
    )
    assert (deep.attention, deep.native_format) == (Attention.MLA, "FP8")
    assert deep.latent == find_model("DeepSeek-V3.2").latent
    assert deep.parameters == find_model("DeepSeek-V3").parameters
    windowed = model_from_config(
        {
            "model_type": "gpt_oss",
            "hidden_size": 2880,
            "num_hidden_layers": 24,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "intermediate_size": 2880,
            "num_local_experts": 32,
            "num_experts_per_tok": 4,
            "vocab_size": 201088,
            "sliding_window": 128,
        }
    )
    assert (windowed.sliding_window, windowed.sliding_layers) == (128, 12)
    gemma = model_from_config(
        {
            "model_type": "gemma3",
            "text_config": {
                "model_type": "gemma3_text",
                "hidden_size": 5376,
                "intermediate_size": 21504,
                "num_attention_heads": 32,
                "num_hidden_layers": 62,
                "num_key_value_heads": 16,
                "head_dim": 128,
                "sliding_window": 1024,
                "vocab_size": 262208,
            },
        }
    )
    known = find_model("gemma-3-27b")
    assert (gemma.parameters, gemma.sliding_layers) == (known.parameters, known.sliding_layers)


def test_a_config_that_maps_code_is_refused() -> None:
    """`auto_map` would run code from the model's folder."""
    with pytest.raises(AgentError) as error:
        model_from_config({"auto_map": {"AutoModel": "x.Y"}})
    assert error.value.code is ErrorCode.UNSAFE_MODEL


@pytest.mark.parametrize("config", [{}, {"hidden_size": "4096"}, {"hidden_size": -1}, {"hidden_size": True}])
def test_a_config_without_sizes_is_named_unreadable(config: dict[str, object]) -> None:
    """Nothing is guessed for a size that is not there."""
    with pytest.raises(AgentError) as error:
        model_from_config(config)
    assert error.value.code is ErrorCode.UNREADABLE_MODEL


HOST = HostFacts.model_validate(
    {
        "cpu": "x",
        "cores": 2,
        "threads": 2,
        "isa": ("avx2",),
        "cache_bytes": {"l3": 1},
        "memory_bytes": 2,
        "memory_free_bytes": 2_000_000_000,
        "bandwidth_gbs": {1: 12.0, 2: 18.0},
        "gflops": {1: 50.0, 2: 95.0},
        "busy_cores": 0.0,
        "load_average": 0.0,
    }
)


def test_the_host_becomes_an_accelerator_with_measured_facts() -> None:
    """Bandwidth and arithmetic are those probed, not nominal ones."""
    device = accelerator_from_host(HOST)
    assert (device.key, device.bandwidth_gbs, device.tflops["fp32"], device.evidence) == (
        "host",
        18.0,
        0.095,
        "measured",
    )


@pytest.mark.parametrize(
    ("isa", "engine", "weight_format", "runs"),
    [
        (("avx2",), "llama.cpp", "Q8_0", True),
        (("avx2",), "vllm", "W8A8", False),
        (("avx2", "avx512f"), "vllm", "W8A8", True),
        (("avx2", "avx512f"), "vllm", "GPTQ-INT4", True),
        (("avx2", "avx512f"), "vllm", "NF4", False),
        (("amx_bf16",), "vllm", "AWQ-INT4", True),
        (("asimd",), "llama.cpp", "Q8_0", True),
        (("asimd",), "vllm", "W8A8", False),
    ],
)
def test_the_hosts_instructions_are_those_of_the_support_matrix(
    isa: tuple[str, ...], engine: str, weight_format: str, *, runs: bool
) -> None:
    """As the system's kernel lists them, they open the engines whose kernels need them, and no others."""
    device = accelerator_from_host(HOST.model_copy(update={"isa": isa}))
    assert (refusal(engine, weight_format, device) is None) == runs
