"""Where a deployment lives on disk: its record, its sockets, its logs and the weights it serves."""

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import orjson
from pydantic import NonNegativeInt, ValidationError

from executors.compress.gguf import MANIFEST, manifest_of
from executors.files import describe_folder, digest, partial, partial_folder, write_whole
from schemas.base import Record
from schemas.command import DEPLOYMENT_NAME
from schemas.deployment import Deployment
from schemas.error import AgentError, ErrorCode

SOCKET_LIMIT = 90
"""Bytes of a socket's path: Linux allows 107, and HAProxy binds under a longer name before it renames."""
FORMAT = 1
"""Of the record: it rises when an agent of before could no longer read what is written; 0 had no number."""
PLAIN = re.compile(r"[\w./:@+=,~-]+")
"""What may stand in a path or an argument that goes into a configuration file: nothing there needs quoting."""


def plain(word: str) -> str:
    """`word` itself.

    Raises:
        AgentError: `unsupported` where it could mean something else in a configuration file.
    """
    if not PLAIN.fullmatch(word):
        detail = f"{word!r} cannot stand in a configuration file; use paths of letters, digits and ./:@+=,~_- only"
        raise AgentError(ErrorCode.UNSUPPORTED, detail)
    return word


class Kept(Record):
    """A deployment's record as it lies on the disk."""

    format: NonNegativeInt
    deployment: Deployment


@dataclass(frozen=True)
class Home:
    """One deployment's folder."""

    path: Path

    @classmethod
    def under(cls, root: Path, name: str) -> "Home":
        """The folder of the deployment `name`, which a message may have named.

        Raises:
            AgentError: `invalid_command` for what is no name; `unsupported` where the folder's path cannot be used.
        """
        if not re.fullmatch(DEPLOYMENT_NAME, name):
            raise AgentError(ErrorCode.INVALID_COMMAND, f"{name!r} is no deployment's name")
        home = cls((root / name).absolute())
        plain(str(home.path))
        longest = len(os.fsencode(home.gateway_socket))
        if longest > SOCKET_LIMIT:
            detail = f"{home.path} is {longest - SOCKET_LIMIT} bytes too long for sockets; use a shorter runs_dir"
            raise AgentError(ErrorCode.UNSUPPORTED, detail)
        return home

    @property
    def name(self) -> str:
        """The deployment's name."""
        return self.path.name

    @property
    def gateway_socket(self) -> Path:
        """HAProxy's runtime API."""
        return self.path / "gateway.sock"

    @property
    def supervisor_socket(self) -> Path:
        """The supervisor's XML-RPC."""
        return self.path / "supervisor.sock"

    @property
    def logs(self) -> Path:
        """What the programs say."""
        return self.path / "logs"

    @property
    def record(self) -> Path:
        """The deployment as it was last known."""
        return self.path / "deployment.json"

    @property
    def drift(self) -> Path:
        """What the watch of quality last said."""
        return self.path / "drift.json"

    def make(self) -> None:
        """The folders, for nobody else: prompts and sockets are in there."""
        for folder in (self.path, self.logs, self.path / "programs", self.path / "engines", self.path / "weights"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def load(self) -> Deployment | None:
        """The record, whichever version of this agent wrote it; None where nothing was deployed under this name.

        Raises:
            AgentError: `tool_failed` where it cannot be read.
        """
        try:
            return _read(self.record.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            detail = f"{self.record} cannot be read: {error}; move the folder away to begin anew"
            raise AgentError(ErrorCode.TOOL_FAILED, detail) from error

    def save(self, deployment: Deployment) -> Deployment:
        """Write the record, whole or not at all."""
        write_whole(self.record, Kept(format=FORMAT, deployment=deployment).model_dump_json(indent=1))
        return deployment

    def adopt(self, weights: Path) -> PurePosixPath:
        """A file or folder of weights, kept under its name and its content's: links where the disk allows, else copies.

        What its maker noted of it stays beside it.
        """
        whole = describe_folder(weights)[0].sha256 if weights.is_dir() else digest(weights)
        stem, suffix = (weights.name, "") if weights.is_dir() else (weights.stem, weights.suffix)
        kept = self.path / "weights" / f"{stem}-{whole[:12]}{suffix}"
        if not kept.exists():
            if manifest_of(weights).exists():
                shutil.copyfile(manifest_of(weights), manifest_of(kept))
            if weights.is_dir():
                with partial_folder(kept) as draft:
                    shutil.copytree(weights, draft, copy_function=_link, dirs_exist_ok=True)
                    draft.replace(kept)
            else:
                with partial(kept) as draft:
                    draft.unlink()
                    _link(weights, draft)
                    draft.replace(kept)
        return PurePosixPath("weights") / kept.name

    def forget(self, used: Iterable[PurePosixPath]) -> None:
        """Delete weights that nobody uses any more, with the notes beside them."""
        names = {path.name for path in used}
        for kept in (self.path / "weights").iterdir():
            if kept.name in names or kept.name.removesuffix(MANIFEST) in names:
                continue
            if kept.is_dir():
                shutil.rmtree(kept)
            else:
                kept.unlink()


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _read(text: bytes) -> Deployment:
    """The deployment that a record holds; fields of other versions are left out, and a history in other words is too.

    Raises:
        ValueError: for a format that is to come, and for what is no record.
    """
    found = orjson.loads(text)
    if not isinstance(found, dict):
        raise ValueError("it holds no record")  # noqa: TRY004 - of a file's content
    kept: dict[str, Any] = found if "format" in found else {"format": 0, "deployment": found}
    form = kept["format"]
    if not isinstance(form, int) or form > FORMAT:
        raise ValueError(f"it has format {form}, and this agent reads {FORMAT} at the most: use the one that wrote it")
    try:
        return Kept.model_validate(kept, extra="ignore").deployment
    except ValidationError as error:
        if any(problem["loc"][:2] != ("deployment", "last") for problem in error.errors()):
            raise
        return Kept.model_validate(
            kept | {"deployment": kept["deployment"] | {"last": None}}, extra="ignore"
        ).deployment


def homes(root: Path) -> list[Home]:
    """Every deployment's folder, by name."""
    return [Home.under(root, record.parent.name) for record in sorted(root.glob("*/deployment.json"))]
