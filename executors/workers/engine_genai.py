"""A folder of ONNX Runtime GenAI's builder: words by GenAI itself, logits by ONNX Runtime over the same graph."""

import json
from pathlib import Path

import engine_onnxruntime
import numpy as np
import onnxruntime_genai


class Model(engine_onnxruntime.Model):
    """GenAI gives logits of the last position only, so scores come from a session over the graph that it runs."""

    def __init__(self, folder: Path, threads: int) -> None:
        config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))
        super().__init__(folder, threads, config["model"]["decoder"]["head_size"])
        self._folder = folder

    def generate(self, tokens: list[int], count: int) -> list[int]:
        """The likeliest `count` tokens after `tokens`, by GenAI's own loop."""
        model = onnxruntime_genai.Model(str(self._folder))
        params = onnxruntime_genai.GeneratorParams(model)
        params.set_search_options(max_length=len(tokens) + count, do_sample=False)
        generator = onnxruntime_genai.Generator(model, params)
        generator.append_tokens(np.array(tokens, np.int32))
        while not generator.is_done():
            generator.generate_next_token()
        return [int(token) for token in generator.get_sequence(0)[len(tokens) :]]
