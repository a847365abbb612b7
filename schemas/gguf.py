"""What the header of a GGUF file says: how many tensors and parameters, and the metadata."""

from pydantic import PositiveInt

from schemas.base import Record

OUTPUT = "output.weight"
"""The output head's tensor; a file without it uses the input embedding."""

Value = int | float | bool | str | tuple[int, ...]


class GgufHeader(Record):
    """One file's header. Of text only the beginning is kept, of an array its length, but for whole numbers by layer."""

    tensors: PositiveInt
    parameters: PositiveInt
    metadata: dict[str, Value]
    has_output: bool

    @property
    def file_type(self) -> int | None:
        """`enum llama_ftype` of llama.cpp; absent in some files."""
        kind = self.metadata.get("general.file_type")
        return kind if isinstance(kind, int) and not isinstance(kind, bool) else None
