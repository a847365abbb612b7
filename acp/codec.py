"""Bytes in, a dict of plain JSON out, within limits; the only place that touches a body nobody has checked."""

import re
import sys
import zlib
from typing import Any, Final, Protocol

import orjson

from schemas.error import AgentError, ErrorCode

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BODY_BYTES: Final = 256 * 1024
STRING_BYTES: Final = 64 * 1024
DEPTH: Final = 32
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
LONGEST_INT: Final = 19

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_LONG_DIGITS = re.compile(rb"\d{19}")
_GZIP: Final = zlib.MAX_WBITS | 16
_WINDOW_LOG: Final = 23
"""8 MiB, what every zstd decoder should manage (RFC 8878, 3.1.1.1.2): the window is memory that a sender asks for."""


class _Unpacker(Protocol):
    """What the libraries of both encodings offer."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def decode(raw: bytes, encoding: str | None = None) -> dict[str, Any]:
    """The JSON object in `raw`, inflated first where `encoding` says gzip or zstd.

    Raises:
        AgentError: `too_large` over the size limit, `invalid_json` for everything else that is not acceptable.
    """
    if encoding not in {None, "", "identity"}:
        raw = inflate(raw, encoding)
    if len(raw) > BODY_BYTES:
        raise AgentError(ErrorCode.TOO_LARGE, f"the body has {len(raw)} bytes; at most {BODY_BYTES} are read")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise AgentError(ErrorCode.INVALID_JSON, f"not JSON: {error}"[:200]) from error
    if not isinstance(value, dict):
        raise AgentError(ErrorCode.INVALID_JSON, "the body must be a JSON object")
    _check_source(raw, _members(value))
    return value


def encode(value: object) -> bytes:
    """Terse JSON: UTF-8 without spaces."""
    return orjson.dumps(value)


def decode_own(body: bytes) -> dict[str, Any]:
    """The object in a body that this agent wrote itself."""
    value: dict[str, Any] = orjson.loads(body)
    return value


def canonical(value: object) -> bytes:
    """`value` with its keys sorted: equal for bodies that say the same."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def inflate(raw: bytes, encoding: str | None) -> bytes:
    """`raw` unpacked, never holding more than the body limit.

    Raises:
        AgentError: `invalid_json` for another encoding or broken data, `too_large` beyond the limit.
    """
    unpacker: _Unpacker
    match encoding:
        case "gzip":
            unpacker = zlib.decompressobj(_GZIP)
        case "zstd":
            unpacker = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
        case _:
            detail = f"Content-Encoding {encoding!r} is not known; send gzip, zstd or none"
            raise AgentError(ErrorCode.INVALID_JSON, detail)
    try:
        plain = unpacker.decompress(raw, BODY_BYTES + 1)
    except (zlib.error, zstd.ZstdError) as error:
        raise AgentError(ErrorCode.INVALID_JSON, f"not {encoding}: {error}"[:200]) from error
    if len(plain) > BODY_BYTES:
        raise AgentError(ErrorCode.TOO_LARGE, f"the body inflates to more than {BODY_BYTES} bytes")
    if not unpacker.eof or unpacker.unused_data:
        wrong = "goes on after its end" if unpacker.eof else "is cut short"
        raise AgentError(ErrorCode.INVALID_JSON, f"the {encoding} data {wrong}")
    return plain


def _members(value: Any, depth: int = 1) -> int:  # noqa: ANN401 - this is where JSON is still anything
    """How many members all objects in `value` have together, checked for depth."""
    if depth > DEPTH:
        raise AgentError(ErrorCode.INVALID_JSON, f"nested deeper than {DEPTH}")
    count, items = (len(value), value.values()) if isinstance(value, dict) else (0, value)
    for item in items:
        if isinstance(item, dict | list):
            count += _members(item, depth + 1)
    return count


def _check_source(raw: bytes, members: int) -> None:
    """What the parser hides: it keeps the last of duplicate keys and turns integers that do not fit into floats."""
    if len(raw) > STRING_BYTES and any(len(string) - 2 > STRING_BYTES for string in _STRING.findall(raw)):
        raise AgentError(ErrorCode.TOO_LARGE, f"a string is longer than {STRING_BYTES} bytes")
    skeleton = _STRING.sub(b"", raw)
    if skeleton.count(b":") != members:
        raise AgentError(ErrorCode.INVALID_JSON, "an object has the same key twice")
    if _LONG_DIGITS.search(skeleton):
        for number in _NUMBER.findall(skeleton):
            digits = number.lstrip(b"-")
            if digits.isdigit() and (len(digits) > LONGEST_INT or not INT_MIN <= int(number) <= INT_MAX):
                raise AgentError(ErrorCode.INVALID_JSON, "an integer does not fit in 64 bits")
