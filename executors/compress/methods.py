"""The methods that make smaller models, as data: a name on the wire in, what it needs and what it makes out."""

import json
import tomllib
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Protocol

from pydantic import Field, PositiveFloat

from executors.compress.gguf import FORMATS
from schemas.artifact import Parameters
from schemas.base import Record
from schemas.error import AgentError, ErrorCode

GGUF = "gguf"
GGUF_ENGINE = "llama.cpp"
CONVERSION = "safetensors"
"""The method that turns a GGUF file into a folder."""
GROUP = "-g"
SIZES = ("32", "64", "128")
"""Group sizes that may be asked for: `gptq-w4a16-g32`."""


class Form(StrEnum):
    """What weights come in: one GGUF file, or a folder with safetensors or an engine's own files."""

    GGUF = "gguf"
    FOLDER = "folder"


class Method(Record):
    """One way to make a model smaller."""

    name: str
    summary: str
    family: str
    toolchain: str
    """Its workbench: it makes, loads and judges there."""
    script: str
    """The worker in `executors/workers`."""
    source: Form = Form.FOLDER
    output: Form = Form.FOLDER
    weight_format: str
    """As the planner calls it (planners/data/formats.csv)."""
    engine: str
    """Loads the result here, writes the sample and is scored."""
    served: tuple[str, ...] = ()
    """Engines of `executors/serve` that serve the result too; benchmarks/methods.py runs them."""
    documented: tuple[str, ...] = ()
    """Engines whose documentation says that they load it; not run here."""
    calibrated: bool = False
    """Whether it reads the calibration text."""
    grouped: bool = False
    """Whether weights share a scale in groups of columns, whose size must divide the model's widths."""
    memory: PositiveFloat
    """Bytes per parameter at the most, besides `compress.TOOL_BYTES`."""
    disk: PositiveFloat
    """Bytes per parameter at the most while it works."""
    parameters: Parameters = Field(default_factory=Parameters)

    @property
    def here(self) -> tuple[str, ...]:
        """Engines that were seen to load the result on a machine without a GPU, the judging one first."""
        return (self.engine, *self.served)

    @property
    def engines(self) -> tuple[str, ...]:
        """Every engine that loads the result somewhere."""
        return (*self.here, *self.documented)


@cache
def methods() -> dict[str, Method]:
    """Every method by its name; a GGUF format goes by its own name."""
    raw = tomllib.loads(files("executors.compress").joinpath("methods.toml").read_text(encoding="utf-8"))
    rows = {name: Method.model_validate({"name": name, **fields}) for name, fields in raw.items()}
    return rows | {name: _gguf(name, form.bits) for name, form in FORMATS.items()}


def method(name: str) -> Method:
    """One method, perhaps with the size of its groups at the end: `gptq-w4a16-g32`.

    Raises:
        AgentError: `unsupported`, with the names there are.
    """
    plain, _, size = name.rpartition(GROUP)
    found, grouped = methods().get(name), methods().get(plain)
    if found is None and grouped is not None and grouped.grouped and size in SIZES:
        found = grouped.model_copy(update={"name": name, "parameters": grouped.parameters | {"group_size": int(size)}})
    if found is None:
        detail = f"there is no method {name!r}; there are {', '.join(methods())}, those in groups also with "
        raise AgentError(ErrorCode.UNSUPPORTED, detail + ", ".join(GROUP + each for each in SIZES))
    return found


class Loadable(Protocol):
    """What one or another engine loads."""

    @property
    def name(self) -> str:
        """On the wire."""

    @property
    def engines(self) -> Sequence[str]:
        """Every engine that loads the result."""


def require_engine(found: Loadable, engines: Sequence[str]) -> None:
    """Refuse a method none of whose engines is among `engines`; where that is empty, any will do.

    Raises:
        AgentError: `unsupported`, naming the engines that load what the method makes.
    """
    if engines and not set(engines) & set(found.engines):
        detail = f"{' or '.join(engines)} does not load what {found.name} makes; these do: {', '.join(found.engines)}"
        raise AgentError(ErrorCode.UNSUPPORTED, detail)


LOADERS = {
    "": ("transformers", "transformers"),
    "compressed-tensors": ("transformers", "llmcompressor"),
    "gptq": ("gptqmodel", "gptqmodel"),
    "bitsandbytes": ("transformers", "transformers"),
}
"""Engine and toolchain for a folder, by the `quant_method` that its configuration names."""


def loader(folder: Path) -> tuple[str, str]:
    """The engine that loads a folder of safetensors, and the toolchain that has it.

    Raises:
        AgentError: `unsupported` for a quantization that nothing here loads.
    """
    quantized = json.loads((folder / "config.json").read_bytes()).get("quantization_config") or {}
    kind = str(quantized.get("quant_method", ""))
    if kind not in LOADERS:
        known = ", ".join(filter(None, LOADERS))
        raise AgentError(ErrorCode.UNSUPPORTED, f"{folder.name} is quantized by {kind!r}; there are {known}")
    return LOADERS[kind]


def _gguf(name: str, bits: float) -> Method:
    return Method(
        name=name,
        summary=f"llama.cpp's own quantizer, {name}",
        family=GGUF,
        toolchain="llamacpp",
        script="llamacpp_quantize",
        source=Form.GGUF,
        output=Form.GGUF,
        weight_format=name,
        engine=GGUF_ENGINE,
        memory=4,
        disk=bits / 8,
    )
