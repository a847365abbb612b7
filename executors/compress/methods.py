"""The methods that make smaller models, as data: a name on the wire in, what it needs and what it makes out."""

import tomllib
from enum import StrEnum
from functools import cache
from importlib.resources import files

from pydantic import Field, PositiveFloat

from executors.compress.gguf import FORMATS
from schemas.artifact import Parameters
from schemas.base import Record
from schemas.error import AgentError, ErrorCode

GGUF = "gguf"
GGUF_ENGINE = "llama.cpp"


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
    def engines(self) -> tuple[str, ...]:
        """Every engine that loads the result, the one that was run here first."""
        return (self.engine, *self.documented)


@cache
def methods() -> dict[str, Method]:
    """Every method by its name; a GGUF format goes by its own name."""
    raw = tomllib.loads(files("executors.compress").joinpath("methods.toml").read_text(encoding="utf-8"))
    rows = {name: Method.model_validate({"name": name, **fields}) for name, fields in raw.items()}
    return rows | {name: _gguf(name, form.bits) for name, form in FORMATS.items()}


def method(name: str) -> Method:
    """One method.

    Raises:
        AgentError: `unsupported`, with the names there are.
    """
    found = methods().get(name)
    if found is None:
        detail = f"there is no method {name!r}; there are {', '.join(methods())}"
        raise AgentError(ErrorCode.UNSUPPORTED, detail)
    return found


def require_engine(name: str, engine: str) -> Method:
    """The method called `name`, where `engine` loads what it makes.

    Raises:
        AgentError: `unsupported`, naming the engines that do.
    """
    found = method(name)
    if engine not in found.engines:
        detail = f"{engine} does not load what {name} makes; these do: {', '.join(found.engines)}"
        raise AgentError(ErrorCode.UNSUPPORTED, detail)
    return found


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
