"""The first bytes of a GGUF file in, its metadata and `ModelFacts` out; sizes are bounded, contents never run.

Layout: the GGUF specification (ggml `docs/gguf.md`), version 2 and 3, little-endian.
"""

import struct
from collections.abc import Mapping

from planners.architecture import attention_of, counted
from schemas.error import AgentError, ErrorCode
from schemas.model import Experts, ModelFacts

MAGIC = b"GGUF"
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_MAX_KEYS = 4096
_MAX_TEXT = 1 << 20
_FIXED_BYTES = 24
_OUTPUT = "output.weight"
_WIDE = 2048
_UNGATED = frozenset({"gptj", "gptneox", "falcon", "mpt", "bloom", "phi2", "starcoder2"})

_FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    12: "Q3_K_M",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    25: "IQ4_NL",
    30: "IQ4_XS",
    32: "BF16",
}
"""`general.file_type` (llama.cpp `enum llama_ftype`) by name."""

Value = int | float | bool | str


class _TruncatedError(Exception):
    """The bytes at hand end inside the header."""


class _Reader:
    """A cursor that never reads past its bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def scalar(self, layout: str) -> int | float | bool:
        """One little-endian number."""
        size = struct.calcsize(layout)
        if self.at + size > len(self.data):
            raise _TruncatedError
        (value,) = struct.unpack_from(layout, self.data, self.at)
        self.at += size
        return value  # type: ignore[no-any-return]  # struct's layouts above hold only numbers and booleans

    def text(self) -> str:
        """A length and that many bytes of UTF-8."""
        size = int(self.scalar("<Q"))
        if size > _MAX_TEXT or self.at + size > len(self.data):
            raise _TruncatedError
        self.at += size
        return self.data[self.at - size : self.at].decode("utf-8", "replace")


def parse_gguf_header(first_bytes: bytes) -> dict[str, Value]:
    """Metadata by key; an array gives its length; `output.weight` says whether there is such a tensor.

    Stops without complaint where the bytes at hand end.

    Raises:
        AgentError: `unreadable_model` where this is not GGUF of version 2 or 3.
    """
    reader = _Reader(first_bytes)
    if first_bytes[:4] != MAGIC or len(first_bytes) < _FIXED_BYTES:
        raise AgentError(ErrorCode.UNREADABLE_MODEL, "the file does not start as GGUF does")
    reader.at = 4
    version, tensors, keys = (int(reader.scalar(layout)) for layout in ("<I", "<Q", "<Q"))
    if version not in {2, 3} or keys > _MAX_KEYS:
        raise AgentError(ErrorCode.UNREADABLE_MODEL, f"GGUF version {version} with {keys} keys is not understood")
    metadata: dict[str, Value] = {}
    try:
        for _ in range(keys):
            _entry(reader, metadata)
        metadata[_OUTPUT] = any(_tensor_name(reader) == _OUTPUT for _ in range(tensors))
    except _TruncatedError:
        pass
    return metadata


def _tensor_name(reader: _Reader) -> str:
    """The name of the next tensor; its dimensions, type and offset are passed over."""
    name = reader.text()
    dimensions = int(reader.scalar("<I"))
    reader.at += 8 * dimensions + 4 + 8
    return name


def _entry(reader: _Reader, metadata: dict[str, Value]) -> None:
    key = reader.text()
    kind = int(reader.scalar("<I"))
    if kind == _STRING:
        metadata[key] = reader.text()
    elif kind == _ARRAY:
        item, length = int(reader.scalar("<I")), int(reader.scalar("<Q"))
        metadata[key] = length
        _skip(reader, item, length)
    elif kind in _SCALARS:
        metadata[key] = reader.scalar(_SCALARS[kind])
    else:
        raise _TruncatedError


def _skip(reader: _Reader, item: int, length: int) -> None:
    if item in _SCALARS:
        reader.at += struct.calcsize(_SCALARS[item]) * length
    elif item == _STRING:
        for _ in range(length):
            reader.text()
    else:
        raise _TruncatedError


def model_from_gguf_metadata(metadata: Mapping[str, object], name: str = "") -> ModelFacts:
    """Facts from GGUF metadata (as parsed above, or by an executor).

    Raises:
        AgentError: `unreadable_model` where a size is missing.
    """
    family = str(metadata.get("general.architecture", ""))

    def number(key: str, default: int | None = None) -> int:
        value = metadata.get(f"{family}.{key}", default)
        if not isinstance(value, int) or value < 0:
            raise AgentError(ErrorCode.UNREADABLE_MODEL, f"the GGUF header has no usable {family}.{key}")
        return value

    hidden, heads = number("embedding_length"), number("attention.head_count")
    kv_heads = number("attention.head_count_kv", heads)
    count = number("expert_count", 0)
    vocab = metadata.get(f"{family}.vocab_size", _length(metadata.get("tokenizer.ggml.tokens")))
    window = number("attention.sliding_window", 0)
    file_type = metadata.get("general.file_type")
    return counted(
        ModelFacts(
            name=name or str(metadata.get("general.name", family)),
            family=family,
            layers=number("block_count"),
            hidden=hidden,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=number("attention.key_length", hidden // heads if heads else 1),
            intermediate=number("feed_forward_length", 4 * hidden),
            vocab=vocab if isinstance(vocab, int) and vocab > 0 else 32000,
            context=number("context_length", 2048),
            attention=attention_of(heads, kv_heads, None),
            gated_mlp=family not in _UNGATED,
            # Where the tensor list lies past the bytes at hand, width decides: small models and Gemma tie theirs.
            tied_embeddings=not metadata.get(_OUTPUT, not family.startswith("gemma") and hidden >= _WIDE),
            experts=Experts(
                count=count,
                active=number("expert_used_count", 1),
                intermediate=number("expert_feed_forward_length", number("feed_forward_length", 4 * hidden)),
            )
            if count > 1
            else None,
            sliding_window=window or None,
            sliding_layers=number("block_count") if window else 0,
            parameters=1,
            active_parameters=1,
            native_format=_FILE_TYPES.get(file_type, "F16") if isinstance(file_type, int) else "F16",
            source="its own GGUF header",
        )
    )


def _length(value: object) -> object:
    return len(value) if isinstance(value, list | tuple) else value
