"""Files of credentials, read before they are used: the client library tells their faults late, or not at all."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import nkeys  # type: ignore[import-untyped]

from acp.settings import Settings
from schemas.error import AgentError, ErrorCode

_BLOCK = re.compile(rb"-+BEGIN [^-]+-+\s+(\S+)\s+-+END [^-]+-+")


def check_credentials(settings: Settings) -> None:
    """Make sure that an nkey file holds a user's seed, and a creds file a token and a user's seed.

    Raises:
        AgentError: `unauthorized`, naming the file and never its content.
    """
    if settings.nats_nkey_file is not None:
        _check_seed(settings.nats_nkey_file, _read(settings.nats_nkey_file))
    if settings.nats_creds_file is not None:
        blocks = _BLOCK.findall(_read(settings.nats_creds_file))
        if len(blocks) != 2:  # noqa: PLR2004 - the token and the seed
            detail = f"{settings.nats_creds_file} is no creds file; make one with `nsc generate creds`"
            raise AgentError(ErrorCode.UNAUTHORIZED, detail)
        _check_seed(settings.nats_creds_file, blocks[1])


@contextlib.contextmanager
def naming(*files: Path | None) -> Iterator[None]:
    """The body, which reads PEM files: what is wrong with one is told with their names.

    Raises:
        AgentError: `unauthorized`.
    """
    try:
        yield
    except OSError as error:  # ssl.SSLError is one too
        names = ", ".join(str(file) for file in files if file is not None)
        detail = f"TLS cannot be set up from {names}: {error}; name PEM files that this agent may read"
        raise AgentError(ErrorCode.UNAUTHORIZED, detail) from error


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        detail = f"{file} cannot be read: {error.strerror}; name a file of credentials that this agent may read"
        raise AgentError(ErrorCode.UNAUTHORIZED, detail) from error


def _check_seed(file: Path, seed: bytes) -> None:
    try:
        user = nkeys.from_seed(bytearray(seed.strip())).public_key.startswith(b"U")
    except nkeys.NkeysError:
        user = False
    if not user:
        raise AgentError(ErrorCode.UNAUTHORIZED, f"{file} holds no user's nkey seed, which begins with SU")
