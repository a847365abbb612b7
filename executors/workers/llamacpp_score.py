"""Scores a candidate against a baseline GGUF on the same tokens; request and answers as `scoring` says.

The candidate is a GGUF too, or where `endpoint` names one, a model served there.
"""

import sys

from libllama import Library
from llama_model import Model
from protocol import Channel, serve
from remote import Remote
from scoring import ByLogits, compare


def run(request: dict[str, object], channel: Channel) -> None:
    """Compare the two models chunk by chunk."""
    library = Library()
    settings = {"n_ctx": request["n_ctx"], "threads": request["threads"]}

    def open_baseline() -> Model:
        return Model(library, request["baseline"], **settings)

    if request["endpoint"]:
        with open_baseline() as baseline:
            scored = ByLogits(baseline)
            compare(request, channel, Remote(request["endpoint"], scored.chunks), lambda: scored)
    else:
        with Model(library, request["candidate"], **settings) as candidate:
            compare(request, channel, ByLogits(candidate), lambda: ByLogits(open_baseline()))


if __name__ == "__main__":
    sys.exit(serve(run))
