"""A stateful decoder in OpenVINO's form, run by OpenVINO's CPU plugin with the precision it chooses by default."""

from pathlib import Path

import numpy as np
import openvino


class Model:
    """A compiled model and one request with its key-value cache inside."""

    def __init__(self, folder: Path, threads: int) -> None:
        compiled = openvino.Core().compile_model(
            folder / "openvino_model.xml", "CPU", {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        )
        self._names = {name for item in compiled.inputs for name in item.names}
        self._request = compiled.create_infer_request()

    def logits(self, tokens: list[int], wanted: range) -> np.ndarray:
        """Logits, [wanted, vocabulary] float32, of `tokens` as a text of its own."""
        self._request.reset_state()
        return self._step(tokens, 0)[wanted.start : wanted.stop]

    def generate(self, tokens: list[int], count: int) -> list[int]:
        """The likeliest `count` tokens after `tokens`."""
        self._request.reset_state()
        at, answer, fresh = 0, [], tokens
        for _ in range(count):
            found = self._step(fresh, at)
            at += len(fresh)
            fresh = [int(found[-1].argmax())]
            answer += fresh
        return answer

    def _step(self, tokens: list[int], at: int) -> np.ndarray:
        total = at + len(tokens)
        feeds = {
            "input_ids": np.array([tokens], np.int64),
            "attention_mask": np.ones((1, total), np.int64),
            "position_ids": np.arange(at, total, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        self._request.infer({name: value for name, value in feeds.items() if name in self._names})
        return np.array(self._request.get_tensor("logits").data[0], np.float32)
