"""Loads a GGUF with llama.cpp, validates its tensors and lets it write a few words: proof that an engine can use it.

Request: `model`, `prompt`, `tokens`, `threads`. Result: `text`, `vocabulary`.
"""

import sys

from libllama import Library
from llama_model import Model
from protocol import Channel, serve

CONTEXT = 256


def check(request: dict[str, object], channel: Channel) -> None:
    """Answer with what the model says after the prompt."""
    with Model(Library(), request["model"], n_ctx=CONTEXT, threads=request["threads"], check=True) as model:
        text = model.generate(request["prompt"], request["tokens"])
        channel.send("result", text=text, vocabulary=model.vocab_size)


if __name__ == "__main__":
    sys.exit(serve(check))
