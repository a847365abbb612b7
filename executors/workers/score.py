"""Scores a candidate folder against a baseline folder, each by its engine, on the same tokens.

Request as `scoring` says, and `engine` (of the candidate), `baseline_engine`.
"""

import sys
from pathlib import Path

from engines import Folder
from protocol import Channel, serve
from scoring import compare


def run(request: dict[str, object], channel: Channel) -> None:
    """Compare the two models chunk by chunk."""
    settings = {"n_ctx": request["n_ctx"], "threads": request["threads"]}
    candidate = Folder(Path(request["candidate"]), request["engine"], **settings)
    baseline = Path(request["baseline"])
    compare(request, channel, candidate, lambda: Folder(baseline, request["baseline_engine"], **settings))


if __name__ == "__main__":
    sys.exit(serve(run))
