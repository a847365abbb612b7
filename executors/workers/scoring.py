"""Scores of two models on the same tokens: chunks in, blocks out; what every scoring worker shares.

Request: `baseline`, `candidate`, `text` (path), `cache` (folder), `n_ctx`, `block`, `kl_every`, `seed`, `max_chunks`,
`threads`. Result lines: event `block` with `chunk`, `tokens`, `nll_baseline`, `nll_candidate` (sums, nats),
`kl` (mean nats over every `kl_every`-th position), `top1` (positions whose likeliest successor agrees).

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


class Scored(Protocol):
    """A model that can be scored: tokens per chunk, a text's chunks, and their logits."""

    n_ctx: int

    def chunks(self, text: str) -> list[list[int]]:
        """`text` in whole chunks of `n_ctx` tokens."""

    def evaluate(self, chunk: list[int], wanted: range) -> np.ndarray:
        """Logits, [wanted, vocabulary] float32, of a chunk as a text of its own."""


class Scores(NamedTuple):
    """One model on one chunk: its tokens, nll and likeliest token where scored, log-probabilities at every n-th."""

    tokens: np.ndarray
    nll: np.ndarray
    top: np.ndarray
    logp: np.ndarray


def score(model: Scored, chunk: list[int], every: int) -> Scores:
    """Evaluate the second half of `chunk`."""
    half = model.n_ctx // 2
    logits = model.evaluate(chunk, range(half - 1, model.n_ctx - 1))
    if not np.isfinite(logits).all():
        raise WorkerError("unreadable_model", "the model's answers are not numbers: its weights are damaged")
    peak = logits.max(axis=1, keepdims=True)
    norm = np.log(np.exp(logits - peak).sum(axis=1, keepdims=True)) + peak
    came = np.asarray(chunk[half:])
    if came.max() >= logits.shape[1]:
        raise WorkerError("unsupported", "the tokenizer knows tokens that the model does not: they do not match")
    nll = (norm[:, 0] - logits[np.arange(len(came)), came]).astype(np.float32)
    return Scores(np.asarray(chunk), nll, logits.argmax(axis=1), (logits[::every] - norm[::every]).astype(np.float16))


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
        np.savez(file, **scores._asdict())
    partial.replace(path)


def divergence(baseline: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """KL(baseline ‖ candidate), nats, per position, of log-probabilities [positions, vocabulary]."""
    base = baseline.astype(np.float32)
    weights = np.exp(base)
    return (weights * (base - candidate.astype(np.float32))).sum(axis=1) / weights.sum(axis=1)


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
            base = score(baseline, own[index], every)
            store(path, base)
        if base.tokens.tolist() != chunks[index]:
            raise WorkerError("unsupported", "the two models do not share a tokenizer: nothing to compare")
        send_blocks(channel, index, base, score(candidate, chunks[index], every), size)


def send_blocks(channel: Channel, chunk: int, base: Scores, other: Scores, size: int) -> None:
    """One line per `size` scored tokens."""
    if base.logp.shape != other.logp.shape:
        raise WorkerError("unsupported", "the two models do not share a vocabulary: nothing to compare")
    kl = divergence(base.logp, other.logp)
    every = len(base.nll) // len(kl)
    for at in range(0, len(base.nll), size):
        part = slice(at, at + size)
        channel.send(
            "block",
            chunk=chunk,
            tokens=len(base.nll[part]),
            nll_baseline=float(base.nll[part].sum(dtype=np.float64)),
            nll_candidate=float(other.nll[part].sum(dtype=np.float64)),
            kl=float(kl[at // every : (at + size) // every].mean(dtype=np.float64)),
            top1=int((base.top[part] == other.top[part]).sum()),
        )
