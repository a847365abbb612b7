"""A strategy in, how its engine is started out: arguments, settings, environment and a container.

Every flag is one of `data/arguments.csv`, which `arguments.py` holds them against. The weights' own method is read by
the engines from the checkpoint, so no flag names it, except where 16-bit weights are quantized on loading.
"""

import json
from collections.abc import Callable

from planners.arguments import publisher
from planners.kernels import kernel_choices
from planners.support import BUILT_AHEAD
from planners.tables import table, words
from schemas.hardware import Accelerator
from schemas.model import ModelFacts
from schemas.plan import Container, KernelChoice, Launch, Strategy

_MEMORY_SHARE = "0.92"
_NEURON_CORES = 2
"""Cores of an Inferentia2 or Trainium1 chip, which its engine counts (AWS Neuron documentation: NeuronCore-v2)."""
_SETTINGS_FILE = "/settings/settings.yaml"

Words = list[object]
Tree = dict[str, object]


def launch_of(strategy: Strategy, model: ModelFacts, accelerator: Accelerator) -> Launch | None:
    """How to start the engine; None for libraries without a server of their own."""
    write = _WRITERS.get(strategy.engine)
    if write is None:
        return None
    built = strategy.engine == "tensorrt-llm" and strategy.weight_format in BUILT_AHEAD
    kernels = () if built else kernel_choices(strategy, model, accelerator)
    arguments = [str(word) for word in write(strategy)] + _kernel_words(kernels)
    settings = {} if built else _tree(kernels, "--config.")
    if strategy.engine == "tensorrt-llm" and not built:
        settings |= _tensorrt_settings(strategy)
        arguments += ["--config", _SETTINGS_FILE]
    environment = tuple(choice.value for choice in kernels if choice.argument == "env")
    return Launch(
        engine=strategy.engine,
        checked_against=publisher(strategy.engine),
        run_here=accelerator.key == "host",
        arguments=tuple(arguments),
        settings=_yaml(settings),
        environment=environment,
        kernels=kernels,
        container=_container(strategy, accelerator, arguments, environment),
    )


def _kernel_words(kernels: tuple[KernelChoice, ...]) -> list[str]:
    """Plain flags, and one JSON object for each flag whose keys are set."""
    plain = [choice for choice in kernels if choice.argument.startswith("--") and "." not in choice.argument]
    found = [word for choice in plain for word in (choice.argument, choice.value)]
    for flag in dict.fromkeys(choice.argument.partition(".")[0] for choice in kernels if "." in choice.argument):
        if flag != "--config":
            found += [flag, json.dumps(_tree(kernels, f"{flag}."), separators=(",", ":"))]
    return found


def _tree(kernels: tuple[KernelChoice, ...], prefix: str) -> Tree:
    """The choices below a flag as nested settings."""
    tree: Tree = {}
    for choice in kernels:
        if choice.argument.startswith(prefix):
            *path, last = choice.argument.removeprefix(prefix).split(".")
            at = tree
            for part in path:
                at = at.setdefault(part, {})  # type: ignore[assignment]  # branches are trees, leaves are never entered
            at[last] = _read(choice.value)
    return tree


def _read(value: str) -> object:
    """A number, a list or a truth value as such; else the text."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def _yaml(tree: Tree, depth: int = 0) -> str:
    """Nested settings as YAML: keys and values are plain words, numbers, truth values and lists of numbers."""
    lines = []
    for key, value in tree.items():
        if isinstance(value, dict):
            lines.append(f"{'  ' * depth}{key}:\n{_yaml(value, depth + 1)}")
        else:
            lines.append(f"{'  ' * depth}{key}: {value if isinstance(value, str) else json.dumps(value)}\n")
    return "".join(lines)


def _container(
    strategy: Strategy, accelerator: Accelerator, arguments: list[str], environment: tuple[str, ...]
) -> Container | None:
    """The maker's image with the weights under `/model`; None where none is published for the device."""
    for row in table("containers"):
        if row["engine"] == strategy.engine and set(words(row["devices"])) & set(accelerator.features):
            return Container(
                image=row["image"],
                command=(*row["program"].split(), *arguments),
                environment=environment,
                host_options=_host_options(row["host_options"], strategy.count),
                source=row["source"],
            )
    return None


def _host_options(text: str, count: int) -> tuple[str, ...]:
    """Options of `docker run`; what names a device by its number, `{n}`, stands once for each accelerator."""
    numbers = range(count) if "{n}" in text else range(1)
    return tuple(part.replace("{n}", str(number)) for number in numbers for part in text.split())


def _room_for_prompt(plan: Strategy) -> int:
    """Without chunks a whole prompt must fit into one iteration, or the engine refuses it."""
    return plan.batched_tokens if plan.chunked_prefill else max(plan.batched_tokens, plan.context)


def _vllm(plan: Strategy) -> Words:
    words: Words = ["--tensor-parallel-size", plan.tensor_parallel]
    words += ["--pipeline-parallel-size", plan.pipeline_parallel]
    words += ["--max-model-len", plan.context, "--max-num-seqs", plan.max_sequences]
    words += ["--max-num-batched-tokens", _room_for_prompt(plan), "--gpu-memory-utilization", _MEMORY_SHARE]
    words += ["--enable-chunked-prefill" if plan.chunked_prefill else "--no-enable-chunked-prefill"]
    words += ["--enable-prefix-caching" if plan.prefix_caching else "--no-enable-prefix-caching"]
    words += ["--scheduling-policy", plan.scheduling]
    stored = {"FP8": "fp8", "INT8": "int8_per_token_head"}.get(plan.kv_format)
    words += ["--kv-cache-dtype", stored] if stored else []
    if plan.speculation != "none":
        method = {"draft": "draft_model"}.get(plan.speculation, plan.speculation)
        guess: Tree = {"method": method, "num_speculative_tokens": plan.guesses}
        guess |= {"model": plan.draft} if plan.draft else {}
        guess |= {"prompt_lookup_max": 4} if method == "ngram" else {}
        words += ["--speculative-config", json.dumps(guess, separators=(",", ":"))]
    return words


def _tensorrt_llm(plan: Strategy) -> Words:
    words: Words = ["--backend", "tensorrt" if plan.weight_format in BUILT_AHEAD else "pytorch"]
    words += ["--tp_size", plan.tensor_parallel, "--pp_size", plan.pipeline_parallel]
    words += ["--max_batch_size", plan.max_sequences, "--max_num_tokens", _room_for_prompt(plan)]
    words += ["--max_seq_len", plan.context, "--kv_cache_free_gpu_memory_fraction", "0.9"]
    return words + (["--enable_chunked_prefill"] if plan.chunked_prefill else [])


def _tensorrt_settings(plan: Strategy) -> Tree:
    """What trtllm-serve takes in its settings file alone."""
    cache: Tree = {"enable_block_reuse": plan.prefix_caching}
    cache |= {"dtype": "fp8"} if plan.kv_format == "FP8" else {}
    found: Tree = {"kv_cache_config": cache}
    if plan.speculation == "none":
        return found
    kind = {"ngram": "NGram", "draft": "DraftTarget", "eagle3": "Eagle", "mtp": "MTP"}[plan.speculation]
    guess: Tree = {"decoding_type": kind, "max_draft_len": plan.guesses}
    guess |= {"num_nextn_predict_layers": plan.guesses} if kind == "MTP" else {}
    guess |= {"max_matching_ngram_size": 4} if kind == "NGram" else {}
    guess |= {"speculative_model_dir": plan.draft} if plan.draft else {}
    # Drafts that run beside the model do not go with the scheduler that overlaps steps.
    return found | {"speculative_config": guess, "disable_overlap_scheduler": kind in {"NGram", "DraftTarget"}}


def _sglang(plan: Strategy) -> Words:
    words: Words = ["--tp-size", plan.tensor_parallel, "--pp-size", plan.pipeline_parallel]
    words += ["--context-length", plan.context, "--max-running-requests", plan.max_sequences]
    words += ["--chunked-prefill-size", plan.batched_tokens if plan.chunked_prefill else -1]
    words += ["--mem-fraction-static", "0.88", "--schedule-policy", plan.scheduling]
    words += [] if plan.prefix_caching else ["--disable-radix-cache"]
    loaded = {"W8A8": "w8a8_int8", "NF4": "bitsandbytes", "BNB-INT8": "bitsandbytes"}.get(plan.weight_format)
    words += ["--quantization", loaded] if loaded else []
    words += ["--kv-cache-dtype", "fp8_e4m3"] if plan.kv_format == "FP8" else []
    if plan.speculation == "none":
        return words
    names = {"ngram": "NGRAM", "draft": "STANDALONE", "eagle3": "EAGLE3", "mtp": "EAGLE"}
    words += ["--speculative-algorithm", names[plan.speculation]]
    words += ["--speculative-num-draft-tokens", plan.guesses + 1]
    words += ["--speculative-draft-model-path", plan.draft] if plan.draft else []
    chain: Words = ["--speculative-num-steps", plan.guesses, "--speculative-eagle-topk", 1]
    return words + (chain if plan.speculation != "ngram" else [])


def _tgi(plan: Strategy) -> Words:
    words: Words = ["--num-shard", plan.tensor_parallel, "--max-batch-size", plan.max_sequences]
    words += ["--max-total-tokens", plan.context, "--max-input-tokens", plan.context - 1]
    words += ["--max-batch-prefill-tokens", max(plan.batched_tokens, plan.context)]
    words += ["--cuda-memory-fraction", _MEMORY_SHARE]
    loaded = {"NF4": "bitsandbytes-nf4", "BNB-INT8": "bitsandbytes"}.get(plan.weight_format)
    words += ["--quantize", loaded] if loaded else []
    words += ["--kv-cache-dtype", "fp8_e4m3fn"] if plan.kv_format == "FP8" else []
    return words + (["--speculate", plan.guesses] if plan.speculation == "ngram" else [])


def _llama_cpp(plan: Strategy) -> Words:
    words: Words = ["--threads", plan.threads, "--parallel", plan.max_sequences]
    words += ["--ctx-size", plan.context * plan.max_sequences, "--batch-size", plan.batched_tokens]
    words += ["--ubatch-size", min(plan.batched_tokens, 512), "--cont-batching", "--metrics"]
    words += ["--cache-type-k", "q8_0", "--cache-type-v", "q8_0"] if plan.kv_format == "Q8_0" else []
    if plan.speculation == "ngram":
        words += ["--spec-type", "ngram-simple", "--spec-ngram-simple-size-m", plan.guesses]
    if plan.speculation == "draft":
        words += ["--spec-type", "draft-simple", "--spec-draft-n-max", plan.guesses]
        words += ["--model-draft", f"/model/{plan.draft.rpartition('/')[2]}-Q8_0.gguf"]
    return words


def _openvino(plan: Strategy) -> Words:
    words: Words = ["--task", "text_generation", "--max_num_seqs", plan.max_sequences]
    words += ["--max_num_batched_tokens", plan.batched_tokens]
    words += ["--enable_prefix_caching", str(plan.prefix_caching).lower()]
    return words + (["--kv_cache_precision", "u8"] if plan.kv_format == "INT8" else [])


def _neuron(plan: Strategy) -> Words:
    words: Words = ["--tensor-parallel-size", plan.tensor_parallel * _NEURON_CORES]
    return [*words, "--max-num-seqs", plan.max_sequences, "--max-model-len", plan.context]


_WRITERS: dict[str, Callable[[Strategy], Words]] = {
    "vllm": _vllm,
    "tensorrt-llm": _tensorrt_llm,
    "sglang": _sglang,
    "tgi": _tgi,
    "llama.cpp": _llama_cpp,
    "openvino": _openvino,
    "neuron": _neuron,
}
