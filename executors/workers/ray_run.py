"""Runs a Ray Serve configuration on a Ray of this machine's own, inside the `ray` toolchain, until it is ended.

One JSON request on standard input; on standard output {"url": …} once it serves, then one line for each change of the
number of running replicas: {"replicas": …}.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
MINIMUM_OBJECT_STORE = 78_643_200
"""Bytes; Ray allows no less, and requests pass through no object store here."""
POLL_S = 0.5

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_LOG_TO_STDERR": "1", "RAY_DEDUP_LOGS": "0"}
import ray  # noqa: E402 - reads the environment when it is imported
import ray_service  # noqa: E402
from ray import serve  # noqa: E402

ANSWERS = os.fdopen(os.dup(1), "w")
"""The agent's end of standard output; what Ray and its workers print goes to the log."""
os.dup2(2, 1)


def say(**line: object) -> None:
    """One line to the agent."""
    print(json.dumps(line), file=ANSWERS, flush=True)


def running() -> int:
    """Replicas that take requests."""
    applications = serve.status().applications.values()
    deployments = [deployment for one in applications for deployment in one.deployments.values()]
    return sum(deployment.replica_states.get("RUNNING", 0) for deployment in deployments)


def end_orphans() -> None:
    """End what Ray left to die by itself; every orphan below this process has become its child."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while left := children.read_text().split():
        for pid in left:
            os.kill(int(pid), signal.SIGKILL)
        for _ in left:
            os.waitpid(-1, 0)


def main() -> None:
    """Start, say where, tell of replicas, and leave nothing behind."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    config = json.load(sys.stdin)
    ended = threading.Event()
    (application,) = config["applications"]
    (options,) = application["deployments"]
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))
        # each of these runs though the one before it fails: the signal that ends this reaches Ray's daemons too
        stack.callback(end_orphans)
        stack.callback(ray.shutdown)
        ray.init(
            address="local",
            num_cpus=config["num_cpus"],
            include_dashboard=False,
            object_store_memory=MINIMUM_OBJECT_STORE,
            _temp_dir=folder,
            logging_level="warning",
        )
        serve.start(http_options=config["http_options"])
        arguments = ray_service.EngineArguments.model_validate(application["args"])
        tuned = {key: value for key, value in options.items() if key != "name"}
        serve.run(ray_service.Engine.options(**tuned).bind(arguments), name=application["name"])
        for number in (signal.SIGTERM, signal.SIGINT):  # only now: Ray puts a handler of its own, which dies at once
            signal.signal(number, lambda *_: ended.set())
        say(url=f"http://{config['http_options']['host']}:{config['http_options']['port']}")
        known = 0
        while not ended.wait(POLL_S):
            if (now := running()) != known:
                known = now
                say(replicas=now)


if __name__ == "__main__":
    main()
