"""Computes an importance matrix: per weight matrix, the mean square of each input column over calibration text.

Request: `model`, `text` (path), `target` (.npz), `n_ctx`, `max_tokens`, `threads`. Result: `tensors`, `tokens`.
The sums are those of llama.cpp's own `tools/imatrix`, taken by the same evaluation callback: of every product of a
block's weight matrix with float32 activations, the activations' squares are added up column by column.
"""

import sys
from ctypes import POINTER, c_float, cast
from pathlib import Path

import numpy as np
from libllama import Library, Tensor
from llama_model import Model
from protocol import Channel, WorkerError, serve

F32 = 0  # enum ggml_type


class Collector:
    """Sums of squares by tensor name, filled by llama.cpp's evaluation callback."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._checked = False
        self.squares: dict[str, np.ndarray] = {}
        self.rows: dict[str, int] = {}
        self.failure: WorkerError | None = None

    def __call__(self, address: int, ask: bool, _: object) -> bool:  # noqa: FBT001 - llama.cpp's signature
        """Whether this node is wanted (`ask`), or take it in; false ends the evaluation."""
        try:
            return self._observe(address, ask=ask)
        except WorkerError as error:  # an exception cannot cross the C frames: keep it, and end the evaluation
            self.failure = error
            return False

    def _observe(self, address: int, *, ask: bool) -> bool:
        tensor = Tensor.from_address(address)
        if not self._checked:
            self._library.check_tensor(address, tensor)
            self._checked = True
        if self._library.ggml_op_desc(address) != b"MUL_MAT":
            return not ask
        weight, activation = tensor.src[0].contents, tensor.src[1].contents
        name = weight.name.decode()
        if not (name.startswith("blk.") and name.endswith(".weight") and activation.type == F32):
            return not ask
        if not ask:
            self._add(name, activation)
        return True

    def _add(self, name: str, activation: Tensor) -> None:
        columns, rows = activation.ne[0], activation.ne[1] * activation.ne[2] * activation.ne[3]
        if activation.nb[0] != 4 or activation.nb[1] != 4 * columns:  # noqa: PLR2004 - bytes of a float32
            raise WorkerError("unsupported", f"the inputs of {name} are not contiguous: no importance matrix here")
        values = np.ctypeslib.as_array(cast(activation.data, POINTER(c_float)), (rows, columns))
        squares = np.square(values, dtype=np.float64).sum(axis=0)
        self.squares[name] = self.squares.get(name, 0.0) + squares
        self.rows[name] = self.rows.get(name, 0) + rows


def compute(request: dict[str, object], channel: Channel) -> None:
    """Evaluate the calibration text chunk by chunk and write the means."""
    library = Library()
    collector = Collector(library)
    n_ctx = request["n_ctx"]
    with Model(library, request["model"], n_ctx=n_ctx, threads=request["threads"], callback=collector) as model:
        chunks = model.chunks(Path(request["text"]).read_text(encoding="utf-8"))[: request["max_tokens"] // n_ctx]
        if not chunks:
            raise WorkerError("unsupported", f"the calibration text is shorter than {n_ctx} tokens")
        for done, chunk in enumerate(chunks, 1):
            model.forget()
            try:
                model.logits(chunk, range(n_ctx - 1, n_ctx))
            except WorkerError as error:
                raise collector.failure or error from error
            channel.progress(done * n_ctx, len(chunks) * n_ctx, "calibration tokens")
    if not collector.squares:
        raise WorkerError("unsupported", "this model has no plain weight matrices to weigh")
    means = {name: (total / collector.rows[name]).astype(np.float32) for name, total in collector.squares.items()}
    np.savez(request["target"], **means)
    channel.send("result", tensors=len(means), tokens=len(chunks) * n_ctx)


if __name__ == "__main__":
    sys.exit(serve(compute))
