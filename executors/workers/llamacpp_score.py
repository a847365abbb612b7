"""Scores a candidate GGUF against a baseline GGUF on the same tokens; request and answers as `scoring` says."""

import sys

from libllama import Library
from llama_model import Model
from protocol import Channel, serve
from scoring import compare


def run(request: dict[str, object], channel: Channel) -> None:
    """Compare the two models chunk by chunk."""
    library = Library()
    settings = {"n_ctx": request["n_ctx"], "threads": request["threads"]}
    with Model(library, request["candidate"], **settings) as candidate:
        compare(request, channel, candidate, lambda: Model(library, request["baseline"], **settings))


if __name__ == "__main__":
    sys.exit(serve(run))
