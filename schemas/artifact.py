"""What compressing left behind: files with their digests, and how each was made, as its manifest says."""

from pathlib import Path

from pydantic import NonNegativeFloat, PositiveInt

from schemas.base import Record


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
    bytes: PositiveInt


class Artifact(Record):
    """One file that a method made, with everything needed to make it again; kept beside the file as its manifest."""

    method: str
    """`gguf` or `importance_matrix`."""
    weight_format: str
    """Of the output; for an importance matrix, of the model it was computed on."""
    source_format: str
    """Of the input: a source that is itself quantized has lost what that costs before this step."""
    importance: FileDigest | None = None
    calibration: Text | None = None
    calibration_tokens: PositiveInt | None = None
    tools: tuple[str, ...]
    source: FileDigest
    output: FileDigest
    seconds: NonNegativeFloat
    sample: str = ""
    """What the engine wrote with it after a fixed prompt: proof that it loads."""

    @property
    def path(self) -> str:
        """The output's name, relative to its job's folder."""
        return self.output.name
