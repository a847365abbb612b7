"""Engines of a folder by name: a folder in, a model that answers with logits and words out.

Each `engine_*` module has a `Model(folder, threads)` with `logits(tokens, wanted)` and `generate(tokens, count)`; it is
imported only when asked for, because each toolchain has only some of them.
"""

from importlib import import_module
from pathlib import Path

import numpy as np
from tokens import Tokens

MODULES = {
    "gptqmodel": "engine_gptqmodel",
    "transformers": "engine_transformers",
    "onnxruntime": "engine_onnxruntime",
    "onnxruntime-genai": "engine_genai",
    "openvino": "engine_openvino",
    "ctranslate2": "engine_ctranslate2",
}


class Folder:
    """A model folder opened by one engine, with the folder's own tokenizer."""

    def __init__(self, folder: Path, engine: str, *, threads: int, n_ctx: int) -> None:
        self.n_ctx = n_ctx
        self._tokens = Tokens(folder)
        self.encode, self.decode, self.end_token = self._tokens.encode, self._tokens.decode, self._tokens.end_token
        self._model = import_module(MODULES[engine]).Model(folder, threads)

    def chunks(self, text: str) -> list[list[int]]:
        """`text` in whole chunks of `n_ctx` tokens."""
        return self._tokens.chunks(text, self.n_ctx)

    def evaluate(self, chunk: list[int], wanted: range) -> np.ndarray:
        """Logits, [wanted, vocabulary] float32, of a chunk as a text of its own."""
        return self._model.logits(chunk, wanted)

    def generate(self, prompt: str, count: int) -> str:
        """The likeliest continuation of `prompt`, `count` tokens at most."""
        return self._tokens.decode(self._model.generate(self._tokens.encode(prompt), count))
