"""A model behind an OpenAI-compatible endpoint, scored by the log-probabilities of its prompt; standard library only.

What it takes: `/v1/completions` with `prompt` as token ids, `echo`, `logprobs` and `return_tokens_as_token_ids` (vLLM's
extension: tokens come as `token_id:N`, so that both sides are known to speak of the same tokens).
"""

import json
import urllib.error
import urllib.request
from collections.abc import Callable

import numpy as np
from protocol import WorkerError
from scoring import Scores

TOLD = 20
"""Likeliest tokens asked for at each position: what vLLM gives at the most by default."""
TIMEOUT_S = 300
LABEL = "token_id:"
LEAST = -1e4
"""Log-probability at which an endpoint's minus infinity is held."""


class Remote:
    """The model called `endpoint["model"]` at `endpoint["url"]`; `chunks` is the baseline's own way to split a text."""

    def __init__(self, endpoint: dict[str, str], chunks: Callable[[str], list[list[int]]]) -> None:
        self._url, self._model = endpoint["url"], endpoint["model"]
        self.chunks = chunks

    def score(self, chunk: list[int], every: int) -> Scores:
        """Scores of the second half of a chunk; of the distribution only what the endpoint tells.

        Raises:
            WorkerError: `unsupported` where the endpoint does not tell what scoring needs, or other tokens than were
                sent; `engine_failed` where it does not answer.
        """
        half = len(chunk) // 2
        told = self._ask(chunk)
        try:
            ids = [_id(label) for label in told["tokens"][: len(chunk)]]
            nll = -np.array(told["token_logprobs"][half : len(chunk)], np.float32)
            tops = [_ranked(top) for top in told["top_logprobs"][half : len(chunk)]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            detail = "the endpoint does not tell its prompt's log-probabilities by token ids; scoring needs echo, "
            raise WorkerError("unsupported", detail + "logprobs and return_tokens_as_token_ids") from error
        if ids != chunk:
            raise WorkerError("unsupported", "the two models do not share a tokenizer: nothing to compare")
        if not np.isfinite(nll).all():
            raise WorkerError("unreadable_model", "the model's answers are not numbers: its weights are damaged")
        width = min(len(top) for top in tops)
        columns = np.array([[token for token, _ in top[:width]] for top in tops[::every]])
        logp = np.array([[value for _, value in top[:width]] for top in tops[::every]], np.float32)
        return Scores(np.asarray(chunk), nll, np.array([top[0][0] for top in tops]), logp, columns)

    def _ask(self, chunk: list[int]) -> dict[str, list]:
        body = {"model": self._model, "prompt": chunk, "max_tokens": 1, "temperature": 0, "echo": True}
        body |= {"logprobs": TOLD, "return_tokens_as_token_ids": True}
        request = urllib.request.Request(  # noqa: S310 - the agent's own configuration names the endpoint
            f"{self._url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - as above
                return json.load(answer)["choices"][0]["logprobs"] or {}
        except urllib.error.HTTPError as error:
            words = error.read(500).decode(errors="replace")
            raise WorkerError("unsupported", f"the endpoint refuses to be scored ({error.code}: {words})") from error
        except (OSError, KeyError, IndexError, ValueError) as error:
            raise WorkerError("engine_failed", f"the endpoint does not answer as OpenAI's do: {error}") from error


def _id(label: str) -> int:
    if not label.startswith(LABEL):
        raise ValueError(label)
    return int(label.removeprefix(LABEL))


def _ranked(top: dict[str, float]) -> list[tuple[int, float]]:
    """Token ids with their log-probabilities, likeliest first."""
    found = [(_id(label), max(value, LEAST)) for label, value in top.items()]
    return sorted(found, key=lambda item: -item[1])
