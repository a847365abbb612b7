"""llama.cpp's own server with continuous batching: a strategy and a GGUF file in, its launch out."""

from pathlib import Path

from pydantic import NonNegativeInt, PositiveInt

from executors.serve.engine import Engine, Launch, rendered
from schemas.plan import Strategy

ALL_LAYERS = 999
"""More than any model has: all of them go to the accelerator."""
HOST = "host"
USUAL_GUESSES = 3


class LlamaCppLaunch(Launch):
    """`speculation` is `none`, `ngram` or `draft`; a draft is a smaller model with the same tokens."""

    gpu_layers: NonNegativeInt
    speculation: str
    draft: Path | None = None
    guesses: PositiveInt
    """Tokens guessed at a time."""


def render(strategy: Strategy, weights: Path, kv_type: str, draft: Path | None = None) -> LlamaCppLaunch:
    """The server's settings; with a draft model, it guesses."""
    return LlamaCppLaunch(
        **rendered(strategy, weights, kv_type).model_dump(exclude={"alias"}),
        alias=weights.stem,
        gpu_layers=0 if strategy.accelerator == HOST else ALL_LAYERS,
        speculation="draft" if draft else strategy.speculation,
        draft=draft,
        guesses=strategy.guesses or USUAL_GUESSES,
    )


def _is_gguf(path: Path) -> bool:
    return path.is_file() and path.suffix == ".gguf"


ENGINE = Engine(
    name="llama.cpp",
    toolchain="llamacpp",
    script="llamacpp_serve",
    loads="llama.cpp",
    batching="continuous",
    kv_types={"FP16": "F16", "INT8": "Q8_0", "Q8_0": "Q8_0", "Q4_0": "Q4_0"},
    holds=_is_gguf,
    wants="a GGUF file",
    render=render,
)

serve = ENGINE.serve


def drafted(draft: Path) -> Engine:
    """The same engine, guessing ahead with the model in `draft`."""

    def with_draft(strategy: Strategy, weights: Path, kv_type: str) -> Launch:
        return render(strategy, weights, kv_type, draft)

    return Engine(**{**vars(ENGINE), "render": with_draft})
