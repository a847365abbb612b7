"""A Hugging Face folder in memory, quantized or not, by transformers on a CPU in float32."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

torch.set_grad_enabled(False)


class Model:
    """A loaded model; quantized layers run as the package that made them runs them on a CPU."""

    def __init__(self, folder: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self._model = self.load(folder).eval()

    def load(self, folder: Path) -> PreTrainedModel:
        """The folder's model on the CPU."""
        placed = {"device_map": {"": "cpu"}} if find_spec("accelerate") else {}  # bitsandbytes wants it said
        return AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            **placed,
        )

    def logits(self, tokens: list[int], wanted: range) -> np.ndarray:
        """Logits, [wanted, vocabulary] float32, of `tokens` as a text of its own."""
        found = self._model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]
        return found[wanted.start : wanted.stop].float().numpy()

    def generate(self, tokens: list[int], count: int) -> list[int]:
        """The likeliest `count` tokens after `tokens`."""
        prompt = torch.tensor([tokens])
        answer = self._model.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=count, do_sample=False
        )
        return answer[0, len(tokens) :].tolist()
