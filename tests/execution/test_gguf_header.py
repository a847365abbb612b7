"""The header of a GGUF file is read without believing it."""

import contextlib
import pickle
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.compress.gguf_header import read_header
from schemas.error import AgentError, ErrorCode

HEAD = b"GGUF" + struct.pack("<IQQ", 3, 1, 1)
FILE_TYPE = struct.pack("<Q", 17) + b"general.file_type" + struct.pack("<II", 4, 7)
TENSOR = struct.pack("<Q", 1) + b"w" + struct.pack("<IQQIQ", 2, 32, 4, 8, 0)


def test_a_header_tells_type_and_size(tmp_path: Path) -> None:
    """File type 7 is Q8_0; 32 by 4 is 128 parameters."""
    path = tmp_path / "m.gguf"
    path.write_bytes(HEAD + FILE_TYPE + TENSOR)
    header = read_header(path)
    assert (header.tensors, header.parameters, header.file_type) == (1, 128, 7)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (pickle.dumps({"weights": [1.0]}), "is not a GGUF file"),
        (b"", "is not a GGUF file"),
        (b"GGUF" + struct.pack("<I", 99), "version"),
        ((HEAD + FILE_TYPE + TENSOR)[:-4], "is cut short"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 1), "claims 1152921504606846976 entries"),
        (HEAD + struct.pack("<Q", 2**62), "claims a value of 4611686018427387904 bytes"),
        (HEAD + FILE_TYPE + struct.pack("<Q", 1) + b"w" + struct.pack("<I", 900), "900 dimensions"),
    ],
)
def test_what_is_not_a_whole_header_is_refused(tmp_path: Path, content: bytes, word: str) -> None:
    """A pickle renamed, an empty file, a cut one, lengths that cannot be: unreadable_model, in one sentence."""
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(AgentError, match=word) as caught:
        read_header(path)
    assert caught.value.code is ErrorCode.UNREADABLE_MODEL


@given(noise=st.binary(max_size=200))
def test_no_bytes_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    """Whatever follows the magic, the answer is a header or a typed error."""
    path = tmp_path_factory.mktemp("noise") / "m.gguf"
    path.write_bytes(HEAD + noise)
    with contextlib.suppress(AgentError):
        read_header(path)
