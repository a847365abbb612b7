"""A strategy in, the engine's own arguments out, as its command line takes them (the model's path is not among them).

Names and values as published: vLLM 0.32 `engine/arg_utils.py`, SGLang 0.5.23 `arg_groups/fields`, `trtllm-serve` 1.2,
`text-generation-launcher` 3.3, `llama-server`, OpenVINO Model Server 2025.2.
"""

from collections.abc import Callable

from planners.catalog import hardware
from schemas.hardware import AcceleratorKind
from schemas.plan import Strategy

_MEMORY_SHARE = "0.92"


def launch_arguments(strategy: Strategy) -> tuple[str, ...]:
    """The arguments, flag and value apart; empty for libraries without a server of their own."""
    write = _WRITERS.get(strategy.engine)
    return () if write is None else tuple(str(word) for word in write(strategy))


def _vllm(plan: Strategy) -> list[object]:
    words: list[object] = ["--tensor-parallel-size", plan.tensor_parallel]
    words += ["--pipeline-parallel-size", plan.pipeline_parallel]
    words += ["--max-model-len", plan.context, "--max-num-seqs", plan.max_sequences]
    words += ["--max-num-batched-tokens", _room_for_prompt(plan), "--gpu-memory-utilization", _MEMORY_SHARE]
    words += ["--enable-chunked-prefill" if plan.chunked_prefill else "--no-enable-chunked-prefill"]
    words += ["--enable-prefix-caching" if plan.prefix_caching else "--no-enable-prefix-caching"]
    words += ["--scheduling-policy", plan.scheduling]
    words += {"NF4": ["--quantization", "bitsandbytes"], "FP8": ["--quantization", "fp8"]}.get(plan.weight_format, [])
    words += ["--kv-cache-dtype", "fp8"] if plan.kv_format == "FP8" else []
    if _is_gpu(plan):  # graphs for every batch up to the limit: a step outside of them pays for each launch again
        words += ["--compilation-config", f'{{"cudagraph_capture_sizes":[{",".join(map(str, _graph_sizes(plan)))}]}}']
    if plan.speculation == "ngram":
        guess = f'{{"method":"ngram","num_speculative_tokens":{plan.guesses},"prompt_lookup_max":4}}'
        words += ["--speculative-config", guess]
    return words


def _is_gpu(plan: Strategy) -> bool:
    return any(item.key == plan.accelerator and item.kind is AcceleratorKind.GPU for item in hardware())


def _offloads(plan: Strategy) -> bool:
    """Whether there is anything beside the processor to run layers on."""
    cpus = {item.key for item in hardware() if item.kind is AcceleratorKind.CPU}
    return plan.accelerator not in {"host", *cpus}


def _graph_sizes(plan: Strategy) -> list[int]:
    """1, 2, 4 and every eighth batch size up to the limit."""
    return [size for size in (1, 2, 4, *range(8, plan.max_sequences + 8, 8)) if size <= max(plan.max_sequences, 1)]


def _room_for_prompt(plan: Strategy) -> int:
    """Without chunks a whole prompt must fit into one iteration, or the engine refuses it."""
    return plan.batched_tokens if plan.chunked_prefill else max(plan.batched_tokens, plan.context)


def _tensorrt_llm(plan: Strategy) -> list[object]:
    words: list[object] = ["--tp_size", plan.tensor_parallel, "--pp_size", plan.pipeline_parallel]
    words += ["--max_batch_size", plan.max_sequences, "--max_num_tokens", _room_for_prompt(plan)]
    words += ["--max_seq_len", plan.context, "--kv_cache_free_gpu_memory_fraction", "0.9"]
    words += ["--enable_chunked_prefill"] if plan.chunked_prefill else []
    words += ["--kv_cache_dtype", "fp8"] if plan.kv_format == "FP8" else []
    return words


def _sglang(plan: Strategy) -> list[object]:
    words: list[object] = ["--tp-size", plan.tensor_parallel, "--pp-size", plan.pipeline_parallel]
    words += ["--context-length", plan.context, "--max-running-requests", plan.max_sequences]
    words += ["--chunked-prefill-size", plan.batched_tokens if plan.chunked_prefill else -1]
    words += ["--mem-fraction-static", "0.88", "--schedule-policy", plan.scheduling]
    words += [] if plan.prefix_caching else ["--disable-radix-cache"]
    words += ["--cuda-graph-max-bs-decode", plan.max_sequences] if _is_gpu(plan) else []
    method = {"W8A8": "w8a8_int8", "FP8": "fp8", "NVFP4": "modelopt_fp4"}.get(plan.weight_format)
    words += ["--quantization", method] if method else []
    words += ["--kv-cache-dtype", "fp8_e5m2"] if plan.kv_format == "FP8" else []
    words += ["--speculative-algorithm", "NGRAM"] if plan.speculation == "ngram" else []
    return words


def _tgi(plan: Strategy) -> list[object]:
    words: list[object] = ["--num-shard", plan.tensor_parallel, "--max-batch-size", plan.max_sequences]
    words += ["--max-total-tokens", plan.context, "--max-input-tokens", plan.context - 1]
    words += ["--max-batch-prefill-tokens", max(plan.batched_tokens, plan.context)]
    words += ["--cuda-memory-fraction", _MEMORY_SHARE]
    methods = {"GPTQ-INT4": "gptq", "AWQ-INT4": "awq", "NF4": "bitsandbytes-nf4", "FP8": "fp8"}
    words += ["--quantize", methods[plan.weight_format]] if plan.weight_format in methods else []
    words += ["--kv-cache-dtype", "fp8_e5m2"] if plan.kv_format == "FP8" else []
    words += ["--speculate", plan.guesses] if plan.speculation == "ngram" else []
    return words


def _llama_cpp(plan: Strategy) -> list[object]:
    words: list[object] = ["--threads", plan.threads, "--parallel", plan.max_sequences]
    words += ["--ctx-size", plan.context * plan.max_sequences, "--batch-size", plan.batched_tokens]
    words += ["--ubatch-size", min(plan.batched_tokens, 512), "--cont-batching", "--metrics"]
    if plan.kv_format == "Q8_0":  # a quantised V cache needs flash attention
        words += ["--flash-attn", "on", "--cache-type-k", "q8_0", "--cache-type-v", "q8_0"]
    words += ["--n-gpu-layers", 999] if _offloads(plan) else []
    return words


def _openvino(plan: Strategy) -> list[object]:
    words: list[object] = ["--task", "text_generation", "--max_num_seqs", plan.max_sequences]
    words += ["--max_num_batched_tokens", plan.batched_tokens]
    words += ["--kv_cache_precision", "u8"] if plan.kv_format == "INT8" else []
    return words


def _neuron(plan: Strategy) -> list[object]:
    words: list[object] = ["--device", "neuron", "--tensor-parallel-size", plan.tensor_parallel]
    return [*words, "--max-num-seqs", plan.max_sequences, "--max-model-len", plan.context]


_WRITERS: dict[str, Callable[[Strategy], list[object]]] = {
    "vllm": _vllm,
    "tensorrt-llm": _tensorrt_llm,
    "sglang": _sglang,
    "tgi": _tgi,
    "llama.cpp": _llama_cpp,
    "openvino": _openvino,
    "neuron": _neuron,
}
