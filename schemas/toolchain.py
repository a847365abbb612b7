"""Toolchains: what an environment is made of, and how it stands on this machine."""

import hashlib
from enum import StrEnum

from pydantic import NonNegativeInt, PositiveInt

from schemas.base import Record


class ToolchainSpec(Record):
    """What to install, pinned, and what must be there afterwards."""

    name: str
    summary: str
    requirements: tuple[str, ...] = ()
    """Installed with what they depend on."""
    alone: tuple[str, ...] = ()
    """Installed without what they depend on, for their data or because that is not needed."""
    built: tuple[str, ...] = ()
    """Packages that are published as sources only and are built here; everything else comes as wheels."""
    imports: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    """Relative to the environment's site-packages."""
    disk_mb: PositiveInt

    def digest(self, python: str) -> str:
        """What an environment is compared with: the specification and the interpreter's version."""
        left_out = {"summary"} if self.built else {"summary", "built"}  # as before there was `built`: still the same
        return hashlib.sha256(f"{python}\n{self.model_dump_json(exclude=left_out)}".encode()).hexdigest()


class ToolchainStamp(Record):
    """Written inside an environment as the last thing: it is whole."""

    digest: str
    python: str
    packages: tuple[str, ...]
    """`name==version` of all that is installed."""


class ToolchainState(StrEnum):
    """Whether an environment can be used as it is."""

    READY = "ready"
    MISSING = "missing"
    STALE = "stale"
    """Made from another specification or interpreter: it will be made again."""
    BROKEN = "broken"


class ToolchainStatus(Record):
    """One toolchain on this machine, for lists."""

    name: str
    summary: str
    state: ToolchainState
    path: str
    bytes: NonNegativeInt
    packages: tuple[str, ...] = ()
