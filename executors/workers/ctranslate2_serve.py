"""Serves a CTranslate2 folder with CTranslate2's generator, inside the `transformers` toolchain.

The library has no continuous batching: all turns that wait are decoded together, and others wait until these are done.
"""

from pathlib import Path

import ctranslate2
from adapter import END, Inbox, Turn, main, taken
from tokens import Tokens


class Batches:
    """One generator; a batch is what waited when the one before it ended."""

    def __init__(self, request: dict[str, object]) -> None:
        folder = Path(request["model"])
        self._generator = ctranslate2.Generator(
            str(folder), device="cpu", intra_threads=request["threads"], inter_threads=1
        )
        self._tokens = Tokens(folder)
        self._most = request["slots"]

    def run(self, inbox: Inbox) -> None:
        """Take what waits, decode it together."""
        while True:
            self._decode(list(taken(inbox, self._most, wait=True)))

    def _decode(self, turns: list[Turn]) -> None:
        left = [turn.count for turn in turns]

        def hear(step: ctranslate2.GenerationStepResult) -> bool:
            """Hand a token out; whether this turn has enough."""
            turn = turns[step.batch_id]
            if left[step.batch_id] > 0:
                turn.tokens.put(step.token_id)
                left[step.batch_id] -= 1
                if not left[step.batch_id]:
                    turn.tokens.put(END)
            return turn.gone or not left[step.batch_id]

        longest = max(left)
        self._generator.generate_batch(
            [self._tokens.names(turn.prompt) for turn in turns],
            max_length=longest,
            min_length=longest if all(turn.to_the_end for turn in turns) else 0,
            sampling_topk=1,
            include_prompt_in_result=False,
            callback=hear,
        )
        for turn, open_tokens in zip(turns, left, strict=True):
            if open_tokens:
                turn.tokens.put(END)


if __name__ == "__main__":
    main(Batches)
