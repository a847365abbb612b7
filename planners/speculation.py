"""Speculation that published drafts allow for a model; what its guesses yield a step, and what drafts them.

Guesses of acceptance `a` each give (1 - a^(g + 1)) / (1 - a) tokens a step of g guesses (Leviathan et al. 2023,
arXiv 2211.17192, equation 1). Acceptance depends on the text: every rate is assumed, with an interval.
"""

import math
from dataclasses import dataclass
from functools import cache

from planners.architecture import counted, layer_parameters
from planners.catalog import models
from planners.performance.formats import weight_format
from planners.tables import table
from schemas.model import ModelFacts

_Z90 = 1.645
_COST_LOG_SD = 0.15
"""How far the time of drafting and checking may be off beside the acceptance: assumed."""
_DRAFT_VOCAB = 32_000
"""Tokens that an EAGLE-3 head chooses among (arXiv 2503.01840 and its published heads)."""
_NEAR_VOCAB = 128
"""llama.cpp takes a draft whose vocabulary differs by so many padded entries (`SPEC_VOCAB_MAX_SIZE_DIFFERENCE`)."""


@dataclass(frozen=True)
class Speculation:
    """One way to guess tokens ahead. `head` drafts them: a smaller model, or the layer that a method adds."""

    method: str
    draft: str = ""
    weights: str = ""
    """Where the draft is published; empty where nothing is to be fetched."""
    guesses: int = 0
    acceptance: float = 0.0
    low: float = 0.0
    high: float = 0.0
    head: ModelFacts | None = None

    @property
    def tokens_per_step(self) -> float:
        """Tokens that a step yields on average."""
        return _yield(self.acceptance, self.guesses)

    @property
    def span(self) -> tuple[float, float]:
        """Tokens that a step yields at the ends of the acceptance's interval."""
        return _yield(self.low, self.guesses), _yield(self.high, self.guesses)

    @property
    def log_sd(self) -> float:
        """Standard deviation of the logarithm of a step's worth."""
        if not self.guesses:
            return 0.0
        low, high = self.span
        return math.hypot(math.log(high / low) / (2 * _Z90), _COST_LOG_SD)

    def drafts_on(self, engine: str, model: ModelFacts, tp: int) -> bool:
        """Whether an engine takes this draft for `model`, cut as many ways as `model` is."""
        if self.head is None:
            return True
        head = self.head
        apart = abs(head.vocab - model.vocab) if self.method == "draft" else 0
        shares = head.kv_heads % tp == 0 or tp % head.kv_heads == 0
        cuts = head.heads % tp == 0 and (head.latent is not None or shares)
        return cuts and apart <= (_NEAR_VOCAB if engine == "llama.cpp" else 0)

    def head_format(self, weights: str) -> str:
        """The draft's weight format beside a model in `weights`: as published, or nearly (8 bits) as GGUF."""
        if weight_format(weights).group.startswith("gguf"):
            return "Q8_0"
        return weights if self.method == "mtp" else "BF16"


NONE = Speculation("none")


def _yield(acceptance: float, guesses: int) -> float:
    return (1 - acceptance ** (guesses + 1)) / (1 - acceptance)


@cache
def speculations(model: ModelFacts) -> tuple[Speculation, ...]:
    """Every way for `model`, none first; drafts are models of the catalog."""
    by_name = {one.name: one for one in models()}
    rows = [row for row in table("speculation") if row["target"] in {"", model.name}]
    return (NONE, *(_speculation(model, by_name.get(row["draft"]), row) for row in rows))


def _speculation(model: ModelFacts, draft: ModelFacts | None, row: dict[str, str]) -> Speculation:
    heads = {"draft": draft, "eagle3": _eagle3(model), "mtp": _next_tokens(model)}
    return Speculation(
        method=row["method"],
        draft=row["draft"],
        weights=row["weights"],
        guesses=int(row["guesses"]),
        acceptance=float(row["acceptance"]),
        low=float(row["low"]),
        high=float(row["high"]),
        head=heads.get(row["method"]),
    )


def _eagle3(model: ModelFacts) -> ModelFacts:
    """One dense layer that reads three of the model's hidden states beside the token, and a small output head."""
    one = {"layers": 1, "experts": None, "vocab": _DRAFT_VOCAB, "tied_embeddings": True, "sliding_window": None}
    head = counted(model.model_copy(update={**one, "sliding_layers": 0, "native_format": "BF16"}))
    # The three states are joined by one matrix, and the layer's own input is twice as wide.
    more = 3 * model.hidden**2 + model.hidden * model.head_dim * (model.heads + 2 * model.kv_heads)
    return head.model_copy(
        update={"parameters": head.parameters + more, "active_parameters": head.active_parameters + more}
    )


def _next_tokens(model: ModelFacts) -> ModelFacts:
    """DeepSeek-V3's module (arXiv 2412.19437, section 2.2): one more layer of the model behind a joining matrix."""
    experts = model.experts.model_copy(update={"dense_layers": 0}) if model.experts else None
    head = model.model_copy(update={"layers": 1, "experts": experts, "tied_embeddings": True})
    layer = layer_parameters(head, moe=experts is not None)
    fixed = model.vocab * model.hidden + 2 * model.hidden**2
    return head.model_copy(update={"parameters": layer.total + fixed, "active_parameters": layer.active + fixed})
