"""JSON lines in, one line each out: `{"kind":…,"cmd":…,"error":…}`. No line stops it."""

from collections.abc import Iterable
from typing import BinaryIO

from acp.codec import encode
from acp.envelope import classify


def verdict(line: bytes) -> bytes:
    """What kind of message `line` is, as terse JSON."""
    envelope = classify(line)
    return encode({"kind": envelope.kind, "cmd": envelope.cmd, "error": envelope.error})


def classify_lines(lines: Iterable[bytes], out: BinaryIO) -> None:
    """Write a verdict for every line; empty lines are refused like any other that is no JSON."""
    out.writelines(verdict(line.rstrip(b"\r\n")) + b"\n" for line in lines)
    out.flush()
