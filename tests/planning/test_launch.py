"""Launch arguments are ones that the engines publish; every engine with a server has some."""

import json
from itertools import pairwise

import pytest

from planners.launch import launch_arguments
from planners.support import engines
from schemas.plan import Strategy

# As published: vLLM 0.32.0 engine/arg_utils.py, SGLang 0.5.23 arg_groups/fields, trtllm-serve options (1.2),
# text-generation-launcher (3.3), llama-server README, OpenVINO Model Server parameters, vLLM's Neuron plug-in.
PUBLISHED: dict[str, set[str]] = {
    "vllm": {
        "--tensor-parallel-size",
        "--pipeline-parallel-size",
        "--max-model-len",
        "--max-num-seqs",
        "--max-num-batched-tokens",
        "--gpu-memory-utilization",
        "--enable-chunked-prefill",
        "--no-enable-chunked-prefill",
        "--enable-prefix-caching",
        "--no-enable-prefix-caching",
        "--scheduling-policy",
        "--quantization",
        "--kv-cache-dtype",
        "--speculative-config",
        "--compilation-config",
    },
    "tensorrt-llm": {
        "--tp_size",
        "--pp_size",
        "--max_batch_size",
        "--max_num_tokens",
        "--max_seq_len",
        "--kv_cache_free_gpu_memory_fraction",
        "--enable_chunked_prefill",
        "--kv_cache_dtype",
    },
    "sglang": {
        "--tp-size",
        "--pp-size",
        "--context-length",
        "--max-running-requests",
        "--chunked-prefill-size",
        "--mem-fraction-static",
        "--schedule-policy",
        "--cuda-graph-max-bs-decode",
        "--disable-radix-cache",
        "--quantization",
        "--kv-cache-dtype",
        "--speculative-algorithm",
    },
    "tgi": {
        "--num-shard",
        "--max-batch-size",
        "--max-total-tokens",
        "--max-input-tokens",
        "--max-batch-prefill-tokens",
        "--cuda-memory-fraction",
        "--quantize",
        "--kv-cache-dtype",
        "--speculate",
    },
    "llama.cpp": {
        "--threads",
        "--parallel",
        "--ctx-size",
        "--batch-size",
        "--ubatch-size",
        "--cont-batching",
        "--metrics",
        "--flash-attn",
        "--cache-type-k",
        "--cache-type-v",
        "--n-gpu-layers",
    },
    "openvino": {"--task", "--max_num_seqs", "--max_num_batched_tokens", "--kv_cache_precision"},
    "neuron": {"--device", "--tensor-parallel-size", "--max-num-seqs", "--max-model-len"},
}
LIBRARIES = {"onnxruntime", "ctranslate2"}


def strategies(engine: str) -> list[Strategy]:
    """A strategy for each setting that changes the arguments."""
    known = engines()[engine]
    plain = Strategy(engine=engine, weight_format="BF16", accelerator="H100-SXM", count=2, tensor_parallel=2)
    changes: list[tuple[str, object]] = [("chunked_prefill", False), ("prefix_caching", True), ("threads", 2)]
    changes += [("kv_format", name) for name in known.kv_formats]
    changes += [("speculation", name) for name in known.speculation]
    changes += [("scheduling", name) for name in known.scheduling]
    changes += [("weight_format", name) for name in ("FP8", "W8A8", "NF4", "AWQ-INT4", "NVFP4")]
    start = {"scheduling": known.scheduling[0]}
    return [plain.model_copy(update={**start, name: value}) for name, value in changes]


@pytest.mark.parametrize("engine", sorted(engines()))
def test_every_flag_is_one_the_engine_publishes(engine: str) -> None:
    """Flag and value stand apart, and no flag stands twice."""
    for strategy in strategies(engine):
        words = launch_arguments(strategy)
        flags = [word for word in words if word.startswith("--")]
        assert bool(words) == (engine not in LIBRARIES)
        assert set(flags) <= PUBLISHED.get(engine, set())
        assert len(flags) == len(set(flags))
        assert all(not (a.startswith("--") and b == "") for a, b in pairwise(words))


def test_vllm_without_chunks_takes_a_whole_prompt_in_one_iteration() -> None:
    """Else it refuses to start: max_num_batched_tokens must reach max_model_len."""
    strategy = Strategy(
        engine="vllm", weight_format="BF16", accelerator="L4", context=9000, batched_tokens=2048, chunked_prefill=False
    )
    words = launch_arguments(strategy)
    assert words[words.index("--max-num-batched-tokens") + 1] == "9000"


def test_speculation_is_configured_as_json() -> None:
    """One JSON object, as vLLM reads it."""
    words = launch_arguments(Strategy(engine="vllm", weight_format="BF16", accelerator="L4", speculation="ngram"))
    assert json.loads(words[words.index("--speculative-config") + 1])["method"] == "ngram"


def test_graphs_are_captured_up_to_the_batch_limit_on_gpus_only() -> None:
    """A batch size without its graph pays for every launch again; a CPU has none."""
    plan = Strategy(engine="vllm", weight_format="BF16", accelerator="L4", max_sequences=24)
    words = launch_arguments(plan)
    sizes = json.loads(words[words.index("--compilation-config") + 1])["cudagraph_capture_sizes"]
    assert sizes == [1, 2, 4, 8, 16, 24]
    assert "--compilation-config" not in launch_arguments(plan.model_copy(update={"accelerator": "Xeon-SPR"}))


def test_llama_cpp_reserves_a_context_for_each_slot() -> None:
    """`--ctx-size` is shared by all slots; a quantised value cache needs flash attention."""
    words = launch_arguments(
        Strategy(
            engine="llama.cpp",
            weight_format="Q8_0",
            accelerator="host",
            max_sequences=4,
            context=2048,
            kv_format="Q8_0",
        )
    )
    assert words[words.index("--ctx-size") + 1] == "8192"
    assert "--flash-attn" in words
    assert "--n-gpu-layers" not in words
