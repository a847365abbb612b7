"""Loads a model folder with its engine and lets it write a few words: proof that the engine can use it.

Request: `model` (folder), `engine`, `prompt`, `tokens`, `threads`. Result: `text`, `vocabulary`.
"""

import sys
from pathlib import Path

import numpy as np
from engines import Folder
from protocol import Channel, WorkerError, serve


def sample(request: dict[str, object], channel: Channel) -> None:
    """Answer with what the model says after the prompt."""
    model = Folder(Path(request["model"]), request["engine"], threads=request["threads"], n_ctx=2)
    row = model.evaluate([0, 1], range(1, 2))
    if not np.isfinite(row).all():
        raise WorkerError("unreadable_model", "the model's answers are not numbers: its weights are damaged")
    channel.send("result", text=model.generate(request["prompt"], request["tokens"]), vocabulary=row.shape[1])


if __name__ == "__main__":
    sys.exit(serve(sample))
