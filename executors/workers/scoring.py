"""Scores of two models on the same tokens: chunks in, blocks out; what every scoring worker shares.

Request: `baseline`, `candidate`, `text` (path), `cache` (folder), `n_ctx`, `block`, `kl_every`, `seed`, `max_chunks`,
`threads`. Result lines: event `block` with `chunk`, `start` (its place in the chunk), `tokens`, `nll_baseline`,
`nll_candidate` (sums, nats), `kl` (mean nats over every `kl_every`-th position; `kl_is_bound`: no more than a lower
bound), `top1` (positions whose likeliest successor agrees).

Each chunk of `n_ctx` tokens is read whole and its second half scored, as llama.cpp's perplexity tool does. Chunks
come in a seeded random order, so that those seen so far are a sample of the whole text. The baseline's scores are kept
in `cache`: float32 for the tokens that came, float16 over the vocabulary at the positions of the divergence. Fresh
log-probabilities go through float16 too, so that a cached and a fresh run give the same numbers.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from protocol import Channel, WorkerError

TINY = 1e-7
"""Probability left for the tokens that an endpoint did not tell, where rounding leaves none."""


class Scores(NamedTuple):
    """One model on one chunk: its tokens, nll and likeliest token where scored, log-probabilities at every n-th."""

    tokens: np.ndarray
    nll: np.ndarray
    top: np.ndarray
    logp: np.ndarray
    ids: np.ndarray | None = None
    """Which tokens the columns of `logp` are, likeliest first; None where they are the whole vocabulary."""


class Scored(Protocol):
    """A model that can be scored: a text's chunks, and the scores of a chunk's second half."""

    def chunks(self, text: str) -> list[list[int]]:
        """`text` in whole chunks."""

    def score(self, chunk: list[int], every: int) -> Scores:
        """Scores of the second half of a chunk as a text of its own."""


class Evaluated(Protocol):
    """A model that gives logits."""

    n_ctx: int

    def chunks(self, text: str) -> list[list[int]]:
        """`text` in whole chunks of `n_ctx` tokens."""

    def evaluate(self, chunk: list[int], wanted: range) -> np.ndarray:
        """Logits, [wanted, vocabulary] float32, of a chunk as a text of its own."""


class ByLogits:
    """A model that gives logits, scored."""

    def __init__(self, model: Evaluated) -> None:
        self._model = model
        self.chunks = model.chunks

    def score(self, chunk: list[int], every: int) -> Scores:
        """Evaluate the second half of `chunk`."""
        half = self._model.n_ctx // 2
        logits = self._model.evaluate(chunk, range(half - 1, self._model.n_ctx - 1))
        logp = log_softmax(logits)
        came = np.asarray(chunk[half:])
        if came.max() >= logp.shape[1]:
            raise WorkerError("unsupported", "the tokenizer knows tokens that the model does not: they do not match")
        nll = -logp[np.arange(len(came)), came].astype(np.float32)
        return Scores(np.asarray(chunk), nll, logp.argmax(axis=1), logp[::every].astype(np.float16))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities, [positions, vocabulary], nats.

    Raises:
        WorkerError: `unreadable_model` where a logit is no number.
    """
    if not np.isfinite(logits).all():
        raise WorkerError("unreadable_model", "the model's answers are not numbers: its weights are damaged")
    peak = logits.max(axis=1, keepdims=True)
    return logits - (np.log(np.exp(logits - peak).sum(axis=1, keepdims=True)) + peak)


def stored(path: Path) -> Scores | None:
    """The baseline's scores of a chunk, where an earlier run kept them."""
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as file:
        return Scores(file["tokens"], file["nll"], file["top"], file["logp"])


def store(path: Path, scores: Scores) -> None:
    """Keep the scores under their final name only when they are whole."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez(file, tokens=scores.tokens, nll=scores.nll, top=scores.top, logp=scores.logp)
    partial.replace(path)


def divergence(baseline: np.ndarray, candidate: Scores) -> np.ndarray:
    """KL(baseline ‖ candidate), nats, per position, of the baseline's log-probabilities [positions, vocabulary].

    Where the candidate told only its likeliest tokens, all others count as one: by the data-processing inequality
    that is a lower bound.
    """
    base, other = baseline.astype(np.float32), candidate.logp.astype(np.float32)
    weights = np.exp(base)
    weights /= weights.sum(axis=1, keepdims=True)
    if candidate.ids is None:
        return (weights * (base - other)).sum(axis=1)
    told = np.take_along_axis(base, candidate.ids, axis=1)
    share = np.take_along_axis(weights, candidate.ids, axis=1)
    rest, other_rest = (np.clip(1 - part.sum(axis=1), TINY, 1) for part in (share, np.exp(other)))
    return (share * (told - other)).sum(axis=1) + rest * np.log(rest / other_rest)


def compare(
    request: dict[str, object], channel: Channel, candidate: Scored, open_baseline: Callable[[], Scored]
) -> None:
    """Compare two models chunk by chunk; the baseline is opened only where its scores are not at hand."""
    size, every, cache = request["block"], request["kl_every"], Path(request["cache"])
    text = Path(request["text"]).read_text(encoding="utf-8")
    baseline: Scored | None = None
    chunks = candidate.chunks(text)
    order = np.random.default_rng(request["seed"]).permutation(len(chunks))[: request["max_chunks"]]
    if not len(order):
        raise WorkerError("unsupported", f"the evaluation text is shorter than {request['n_ctx']} tokens")
    for index in order.tolist():
        path = cache / f"chunk-{index:06d}.npz"
        base = stored(path)
        if base is None:
            if baseline is None:
                baseline = open_baseline()
                own = baseline.chunks(text)
            if index >= len(own):
                raise WorkerError("unsupported", "the two models do not share a tokenizer: nothing to compare")
            base = baseline.score(own[index], every)
            store(path, base)
        if base.tokens.tolist() != chunks[index]:
            raise WorkerError("unsupported", "the two models do not share a tokenizer: nothing to compare")
        send_blocks(channel, index, base, candidate.score(chunks[index], every), size)


def send_blocks(channel: Channel, chunk: int, base: Scores, other: Scores, size: int) -> None:
    """One line per `size` scored tokens."""
    if base.logp.shape != other.logp.shape and other.ids is None:
        raise WorkerError("unsupported", "the two models do not share a vocabulary: nothing to compare")
    kl = divergence(base.logp, other)
    every = len(base.nll) // len(kl)
    for at in range(0, len(base.nll), size):
        part = slice(at, at + size)
        channel.send(
            "block",
            chunk=chunk,
            start=len(base.tokens) - len(base.nll) + at,
            tokens=len(base.nll[part]),
            nll_baseline=float(base.nll[part].sum(dtype=np.float64)),
            nll_candidate=float(other.nll[part].sum(dtype=np.float64)),
            kl=float(kl[at // every : (at + size) // every].mean(dtype=np.float64)),
            kl_is_bound=other.ids is not None,
            top1=int((base.top[part] == other.top[part]).sum()),
        )
