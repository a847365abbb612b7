"""A release in, a systemd template unit out: `systemctl start NAME@8101` runs one replica at that port of loopback."""

from pathlib import Path

from executors.deploy.containers import CPU, container_of, vendor_of, words
from executors.files import write_whole
from schemas.cluster import ClusterRelease
from schemas.error import AgentError, ErrorCode

MODELS = "/var/lib/inferwright/models"
UNIT = """\
# {what}; made for job {job}.
# systemctl enable --now {slug}@8101 {slug}@8102 (one for each replica, at that port of loopback)
[Unit]
Description={slug} at port %i
After=network.target

[Service]
ExecStart={command}
Environment=HF_HUB_OFFLINE=1 HOME=/var/cache/{slug}
Restart=on-failure
RestartSec=5
TimeoutStopSec=120
DynamicUser=yes
CacheDirectory={slug}
{resources}
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
CapabilityBoundingSet=
IPAddressDeny=any
IPAddressAllow=localhost

[Install]
WantedBy=multi-user.target
"""


def write(folder: Path, release: ClusterRelease) -> None:
    """`NAME@.service` in `folder`.

    Raises:
        AgentError: `unsupported`, as `unit`.
    """
    text = unit(release)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{release.slug}@.service", text)


def unit(release: ClusterRelease) -> str:
    """The unit's text; the engine must be installed on the machine, on the path that systemd searches.

    Raises:
        AgentError: `unsupported` where the engine is not known there, or a replica spans several machines.
    """
    if release.nodes > 1:
        raise AgentError(ErrorCode.UNSUPPORTED, "systemd knows one machine; a replica of this release spans several")
    container = container_of(release)
    known = {"0.0.0.0": "127.0.0.1", str(container.port): "%i"}  # noqa: S104 - loopback instead
    typed = [known.get(word, word.replace("%", "%%").replace("$", "$$")) for word in _native(release)]
    return UNIT.format(
        what=release.strategy.label,
        job=release.job,
        slug=release.slug,
        command=" ".join(["/usr/bin/env", *map(_quoted, typed)]),
        resources="\n".join(_resources(release)),
    )


def _native(release: ClusterRelease) -> list[str]:
    """The command as it is typed on a machine: a container's absolute path means nothing there."""
    command, *arguments = words(release, container_of(release), folder=MODELS)
    return [Path(command).name, *arguments]


def _resources(release: ClusterRelease) -> list[str]:
    if vendor_of(release.accelerator) == CPU:
        return [f"CPUQuota={100 * release.strategy.threads}%", f"MemoryMax={1.25 * release.memory_gb * 1000:.0f}M"]
    return ["PrivateDevices=no", "SupplementaryGroups=video render"]


def _quoted(word: str) -> str:
    """A word as systemd.syntax(7) reads it back."""
    if word and not set(word) & set(" \t\"'\\{}[];"):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
