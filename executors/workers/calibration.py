"""Calibration sequences of a folder's tokens: the beginning of a text in whole rows, as calibrating tools want them."""

from pathlib import Path

from protocol import WorkerError
from tokens import Tokens


def rows(request: dict[str, object]) -> list[list[int]]:
    """At most `samples` rows of `tokens` tokens each from the request's calibration text.

    Raises:
        WorkerError: `unsupported` where the text has not even one.
    """
    size = request["tokens"]
    text = Path(request["calibration"]).read_text(encoding="utf-8")
    found = Tokens(Path(request["source"])).chunks(text[: request["samples"] * size * 16], size)[: request["samples"]]
    if not found:
        raise WorkerError("unsupported", f"the calibration text is shorter than {size} tokens; name a longer one")
    return found
