"""A decoder in CTranslate2's form, run by CTranslate2 on a CPU with the types it was converted to."""

from pathlib import Path

import ctranslate2
import numpy as np
from tokens import Tokens


class Model:
    """A generator; the folder's own tokenizer names its tokens."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._generator = ctranslate2.Generator(str(folder), device="cpu", intra_threads=threads, inter_threads=1)
        self._tokens = Tokens(folder)

    def logits(self, tokens: list[int], wanted: range) -> np.ndarray:
        """Logits, [wanted, vocabulary] float32, of `tokens` as a text of its own."""
        found = self._generator.forward_batch([tokens], return_log_probs=False)
        return np.array(found)[0, wanted.start : wanted.stop].astype(np.float32)

    def generate(self, tokens: list[int], count: int) -> list[int]:
        """The likeliest `count` tokens after `tokens`."""
        answer = self._generator.generate_batch(
            [self._tokens.names(tokens)], max_length=count, sampling_topk=1, include_prompt_in_result=False
        )
        return list(answer[0].sequences_ids[0])
