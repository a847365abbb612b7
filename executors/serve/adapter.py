"""The launch of engines that are libraries: `workers/adapter.py` puts an OpenAI-compatible server around them."""

from pathlib import Path

from executors.serve.engine import Launch
from schemas.plan import Strategy


def rendered(strategy: Strategy, weights: Path, kv_type: str) -> Launch:
    """What the adapter is asked."""
    return Launch(
        model=weights,
        alias=weights.name,
        slots=strategy.max_sequences,
        context=strategy.context,
        batched_tokens=strategy.batched_tokens,
        threads=strategy.threads,
        kv_type=kv_type,
        prefix_caching=strategy.prefix_caching,
    )
