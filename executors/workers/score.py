"""Scores a candidate folder against a baseline folder, each by its engine, on the same tokens.

Request as `scoring` says, and `engine` (of the candidate), `baseline_engine`; where `endpoint` names one, the candidate
is a model served there.
"""

import sys
from pathlib import Path

from engines import Folder
from protocol import Channel, serve
from remote import Remote
from scoring import ByLogits, compare
from tokens import Tokens


def run(request: dict[str, object], channel: Channel) -> None:
    """Compare the two models chunk by chunk."""
    settings = {"n_ctx": request["n_ctx"], "threads": request["threads"]}
    baseline = Path(request["baseline"])
    if request["endpoint"]:
        tokens = Tokens(baseline)
        candidate = Remote(request["endpoint"], lambda text: tokens.chunks(text, request["n_ctx"]))
    else:
        candidate = ByLogits(Folder(Path(request["candidate"]), request["engine"], **settings))
    compare(request, channel, candidate, lambda: ByLogits(Folder(baseline, request["baseline_engine"], **settings)))


if __name__ == "__main__":
    sys.exit(serve(run))
