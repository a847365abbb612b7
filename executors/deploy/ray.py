"""A release in, a Ray Serve application out: a configuration for any cluster, and the same on a Ray of our own."""

import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import yaml

from executors.deploy.containers import CPU, container_of, vendor_of, words
from executors.files import write_whole
from executors.process import Child
from executors.serve.engine import engine_died
from executors.toolchain import Toolchain
from schemas.cluster import ClusterRelease, Document
from schemas.error import AgentError, ErrorCode

WORKERS = Path(__file__).parents[1] / "workers"
SERVICE = WORKERS / "ray_service.py"
RUNNER = WORKERS / "ray_run.py"
CONFIG = "serve.yaml"
QUEUE = 4
"""Requests that wait for each slot before the proxy refuses more."""
UP_S, DOWN_S = 30.0, 300.0
"""How long a need must last before a replica is added, and its absence before one is retired; loading takes long."""


def write(folder: Path, release: ClusterRelease) -> None:
    """`serve.yaml` and the application beside it: `serve run serve.yaml` in `folder` starts it on a Ray cluster.

    Raises:
        AgentError: `unsupported` as `container_of`, and where one replica spans several machines.
    """
    text = yaml.safe_dump(serve_config(release), sort_keys=False, width=120)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(SERVICE, folder / SERVICE.name)
    write_whole(folder / CONFIG, text)


def serve_config(release: ClusterRelease) -> Document:
    """The configuration for a cluster: the engine's own command on each node, accelerators as Ray counts them.

    Raises:
        AgentError: `unsupported`, as `write`.
    """
    if release.nodes > 1:
        detail = "a replica over several machines is not written for Ray Serve; use the LeaderWorkerSet instead"
        raise AgentError(ErrorCode.UNSUPPORTED, detail)
    container = container_of(release)
    command = ["{port}" if word == str(container.port) else word for word in words(release, container)]
    command = ["127.0.0.1" if word == "0.0.0.0" else word for word in command]  # noqa: S104 - the proxy is on the same node
    return config(release, {"command": [*command], "health": container.health}, host="0.0.0.0", port=8000)  # noqa: S104 - a cluster's own network


def config(
    release: ClusterRelease, arguments: Document, *, host: str, port: int, up_s: float = UP_S, down_s: float = DOWN_S
) -> Document:
    """A Serve configuration: `arguments` are what `ray_service.build` takes. Times in seconds."""
    strategy, on_cpu = release.strategy, vendor_of(release.accelerator) == CPU
    uses: Document = {"num_cpus": strategy.threads} if on_cpu else {"num_cpus": 4, "num_gpus": strategy.count}
    scaling: Document = {
        "min_replicas": release.replicas,
        "max_replicas": release.replicas_max,
        "target_ongoing_requests": strategy.max_sequences,
        "upscale_delay_s": up_s,
        "downscale_delay_s": down_s,
    }
    deployment: Document = {
        "name": "Engine",
        "max_ongoing_requests": QUEUE * strategy.max_sequences,
        "autoscaling_config": scaling,
        "ray_actor_options": uses,
    }
    application: Document = {
        "name": release.slug,
        "route_prefix": "/",
        "import_path": "ray_service:build",
        "args": arguments,
        "deployments": [deployment],
    }
    return {"http_options": {"host": host, "port": port}, "applications": [application]}


@dataclass
class RayService:
    """A Ray Serve application on this machine: where it answers, and how many replicas run."""

    url: str
    child: Child
    replicas: int = 0

    async def follow(self) -> AsyncIterator[int]:
        """The number of running replicas at each change, until the service ends."""
        async for line in self.child.lines():
            self.replicas = int(orjson.loads(line)["replicas"])
            yield self.replicas


@contextlib.asynccontextmanager
async def serving(config: Document, cpus: int, tools: Toolchain, log: Path) -> AsyncIterator[RayService]:
    """`config` on a Ray of this machine with `cpus` processors, in the toolchain `ray`; it ends with the body.

    Raises:
        AgentError: `engine_failed` with the last words where it does not come up.
    """
    # Ray's daemons leave the process group: the runner must be let finish, and they watch it in case it cannot
    child = Child([str(tools.python), "-s", str(RUNNER)], log=log, read_output=True)
    await child.start(orjson.dumps(config | {"num_cpus": cpus}))
    try:
        async for line in child.lines():
            yield RayService(str(orjson.loads(line)["url"]), child)
            return
        await child.wait()
        raise engine_died(child, "Ray Serve")
    finally:
        await child.end(grace_s=30.0)
