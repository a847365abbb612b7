"""A strategy and its device in, the kernels to ask the engine for out: attention, graphs, compilation; each with why.

Rows of `data/kernels.csv` are tried in order: the first that the device and the strategy fit settles its setting.
"""

from collections.abc import Iterator

from planners.tables import table, words
from schemas.hardware import Accelerator
from schemas.model import ModelFacts
from schemas.plan import KernelChoice, Strategy

_USUAL_HEADS = frozenset({64, 128, 256})
"""Sizes of a head that FlashInfer and AMD's FlashAttention are built for."""
_LARGEST_GRAPH = 1024
"""Tokens of the largest step that is captured: beyond it arithmetic hides the launches."""


def kernel_choices(strategy: Strategy, model: ModelFacts, accelerator: Accelerator) -> tuple[KernelChoice, ...]:
    """What to set, in the order of the file."""
    found: dict[str, KernelChoice] = {}
    for row in table("kernels"):
        fits = row["engine"] == strategy.engine and row["setting"] not in found
        if fits and _on(row, accelerator) and set(words(row["when"])) <= set(_traits(strategy, model)):
            found[row["setting"]] = KernelChoice(
                setting=row["setting"],
                argument=row["argument"],
                value=_filled(row["value"], strategy),
                why=row["why"],
                source=row["source"],
            )
    return tuple(found.values())


def _on(row: dict[str, str], accelerator: Accelerator) -> bool:
    devices = words(row["devices"])
    return not devices or bool(set(devices) & set(accelerator.features))


def _traits(strategy: Strategy, model: ModelFacts) -> Iterator[str]:
    yield f"kv={strategy.kv_format}"
    yield f"speculation={strategy.speculation}"
    yield f"family={model.family}"
    if model.head_dim in _USUAL_HEADS:
        yield "usual heads"
    if model.latent is not None:
        yield "sparse latent" if model.latent.selected else "latent"


def _filled(value: str, strategy: Strategy) -> str:
    """The value with the most tokens of a decoding step, or the powers of two up to it."""
    most = min(strategy.max_sequences * (1 + strategy.guesses), _LARGEST_GRAPH)
    powers = [1 << power for power in range(most.bit_length()) if 1 << power < most]
    return value.replace("{list}", ",".join(map(str, [*powers, most]))).replace("{batch}", str(most))
