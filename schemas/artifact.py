"""What compressing left behind: files with their digests, and how each was made, as its manifest says."""

from pathlib import Path

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from schemas.base import Record

FEW = 4
"""Packages that a sentence can name."""
Parameters = dict[str, str | int | float | bool]
"""What a tool is told, by name."""


class Text(Record):
    """A text to calibrate or to evaluate with, by name and content."""

    name: str
    path: Path
    sha256: str
    licence: str = ""

    @property
    def label(self) -> str:
        """For reports: the name and the digest's beginning."""
        return f"{self.name} (sha256 {self.sha256[:12]})"


class FileDigest(Record):
    """One file by content; `name` without its folder."""

    name: str
    sha256: str
    bytes: NonNegativeInt


class Artifact(Record):
    """One file or folder that a method made, with all it takes to make it again; kept beside it as its manifest."""

    method: str
    """`gguf`, `importance_matrix` or a name of `executors/compress/methods.toml`."""
    weight_format: str
    """Of the output; for an importance matrix, of the model it was computed on."""
    source_format: str
    """Of the input: a source that is itself quantized has lost what that costs before this step."""
    dequantised_from: str = ""
    """The quantized format that the weights once went through, where this or an earlier step dequantised them."""
    parameters: Parameters = Field(default_factory=Parameters)
    """What the tool was told, and what it found out."""
    importance: FileDigest | None = None
    calibration: Text | None = None
    calibration_tokens: PositiveInt | None = None
    tools: tuple[str, ...]
    source: FileDigest
    output: FileDigest
    """Of a folder: the digest of its files' names and digests, and their bytes together."""
    files: tuple[FileDigest, ...] = ()
    """What is in a folder."""
    seconds: NonNegativeFloat
    curve: tuple[float, ...] = ()
    """Loss of each training step, of a method that trains; for `distill`, KL divergence in nats per token."""
    peak_bytes: NonNegativeInt = 0
    """The most memory the tool's process held; 0 where it was not measured."""
    engine: str = ""
    """Which engine loaded the artifact and wrote the sample."""
    sample: str = ""
    """What the engine wrote with it after a fixed prompt: proof that it loads."""

    @property
    def path(self) -> str:
        """The output's name, relative to its job's folder."""
        return self.output.name

    @property
    def makers(self) -> str:
        """What made it, by name where that is a few packages; the manifest beside it names all."""
        few = ", ".join(self.tools)
        return few if len(self.tools) <= FEW else f"{len(self.tools)} pinned packages, named in {self.output.name}.json"
