"""A release in, a Compose file out: its replicas on one machine with a container runtime."""

from pathlib import Path

import yaml

from executors.deploy.containers import CPU, container_of, vendor_of, words
from executors.files import write_whole
from schemas.cluster import ClusterRelease, Document
from schemas.error import AgentError, ErrorCode

FILE = "compose.yaml"
FIRST_PORT = 8101
"""Of the first replica on loopback; the others follow."""


def write(folder: Path, release: ClusterRelease) -> None:
    """`compose.yaml` in `folder`.

    Raises:
        AgentError: `unsupported` where the engine has no container there, or the accelerators cannot be handed over.
    """
    text = yaml.safe_dump(compose(release), sort_keys=False, width=120)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / FILE, text)


def compose(release: ClusterRelease) -> Document:
    """The file's content: a service for each replica, each at a port of loopback, with nothing it does not need.

    Raises:
        AgentError: `unsupported`, as `write`.
    """
    if release.nodes > 1:
        raise AgentError(ErrorCode.UNSUPPORTED, "Compose knows one machine; a replica of this release spans several")
    services: Document = {
        f"{release.slug}-{number + 1}": _service(release, number) for number in range(release.replicas)
    }
    return {"name": release.slug, "services": services}


def _service(release: ClusterRelease, number: int) -> Document:
    container = container_of(release)
    command, *arguments = (word.replace("$", "$$") for word in words(release, container))
    return {
        "image": container.image,
        "entrypoint": [command],
        "command": [*arguments],
        "ports": [f"127.0.0.1:{FIRST_PORT + number}:{container.port}"],
        "volumes": ["${MODELS:?the folder that holds the weights}:/models:ro"],
        "environment": {"HOME": "/tmp", "HF_HUB_OFFLINE": "1"},  # noqa: S108 - the container's own
        "user": "65532:65532",
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108 - the container's own
        "shm_size": "8gb",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "unless-stopped",
        "stop_grace_period": "2m",
        **_accelerators(release, number),
    }


def _accelerators(release: ClusterRelease, number: int) -> Document:
    """Each replica's own accelerators, as the runtimes of the vendors hand them over.

    Raises:
        AgentError: `unsupported` for vendors that have no such way.
    """
    vendor, count = vendor_of(release.accelerator), release.strategy.count
    mine = range(number * count, (number + 1) * count)
    if vendor == CPU:
        return {"cpus": release.strategy.threads, "mem_limit": f"{1.25 * release.memory_gb * 1000:.0f}m"}
    if vendor == "nvidia":
        device: Document = {"driver": "nvidia", "device_ids": [*map(str, mine)], "capabilities": ["gpu"]}
        return {"deploy": {"resources": {"reservations": {"devices": [device]}}}}
    if vendor == "amd":  # render nodes begin at 128
        nodes = [f"/dev/dri/renderD{128 + index}" for index in mine]
        return {"devices": ["/dev/kfd", *nodes], "group_add": ["video", "render"]}
    if vendor == "aws":
        return {"devices": [f"/dev/neuron{index}" for index in mine]}
    raise AgentError(ErrorCode.UNSUPPORTED, f"no way is known to hand {vendor} accelerators to a container by Compose")
