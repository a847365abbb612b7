"""A decoder exported to ONNX with its key-value cache as inputs and outputs, run by ONNX Runtime on a CPU."""

from pathlib import Path

import numpy as np
import onnxruntime

KINDS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class Model:
    """A session over `model.onnx`."""

    def __init__(self, folder: Path, threads: int, head_width: int = 0) -> None:
        self._head_width = head_width  # where the graph gives it only a name
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {item.name: item for item in self._session.get_inputs()}
        self._outputs = [item.name for item in self._session.get_outputs()]

    def logits(self, tokens: list[int], wanted: range) -> np.ndarray:
        """Logits, [wanted, vocabulary] float32, of `tokens` as a text of its own."""
        found, _ = self._step(tokens, 0, self._empty())
        return found[wanted.start : wanted.stop]

    def generate(self, tokens: list[int], count: int) -> list[int]:
        """The likeliest `count` tokens after `tokens`."""
        past, at, answer, fresh = self._empty(), 0, [], tokens
        for _ in range(count):
            found, past = self._step(fresh, at, past)
            at += len(fresh)
            fresh = [int(found[-1].argmax())]
            answer += fresh
        return answer

    def _empty(self) -> dict[str, np.ndarray]:
        """A cache without tokens."""
        past = {}
        for name, item in self._inputs.items():
            if name.startswith("past_key_values"):
                _, heads, _, width = item.shape
                past[name] = np.zeros((1, heads, 0, self._head_width or width), KINDS[item.type])
        return past

    def _step(
        self, tokens: list[int], at: int, past: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Logits of `tokens` placed at `at`, and the cache with them in it."""
        total = at + len(tokens)
        feeds = {
            "input_ids": np.array([tokens], np.int64),
            "attention_mask": np.ones((1, total), np.int64),
            "position_ids": np.arange(at, total, dtype=np.int64)[None],
            **past,
        }
        values = self._session.run(self._outputs, {name: feeds[name] for name in self._inputs})
        answers = dict(zip(self._outputs, values, strict=True))
        kept = {name: answers[name.replace("past_key_values", "present")] for name in past}
        return answers["logits"][0].astype(np.float32), kept
