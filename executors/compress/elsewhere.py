"""Methods whose tool wants a GPU that is not here: a method's name in; script, arguments and container out, checked.

Nothing is run. A rendered step is held against what the tool publishes (`modelopt.toml`): the script compiles, its own
parser takes the arguments, and every name and argument of the tool that it uses is a published one.
"""

import argparse
import ast
import runpy
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from executors.compress.compress import Effort
from schemas.base import Record
from schemas.delegation import Rendering
from schemas.error import AgentError, ErrorCode

SCRIPT = Path(__file__).parents[1] / "workers" / "modelopt_ptq.py"
MODULE, EXPORT = "mtq", "export_hf_checkpoint"
"""How the script calls the tool's two entries."""


class GpuMethod(Record):
    """One way to make a model smaller that needs a GPU."""

    name: str
    summary: str
    configuration: str
    """As ModelOpt calls it."""
    weight_format: str
    engines: tuple[str, ...]
    """Whose documentation says that they load the result."""
    needs: str


class Published(Record):
    """What the tool publishes, of what a step may use: names, and the parameters of its functions."""

    package: str
    version: str
    source: str
    configurations: tuple[str, ...]
    functions: dict[str, tuple[str, ...]]


class _Container(Record):
    image: str
    source: str


class _Table(Record):
    published: Published
    container: _Container
    methods: dict[str, dict[str, Any]]


@cache
def _table() -> _Table:
    raw = files("executors.compress").joinpath("modelopt.toml").read_text(encoding="utf-8")
    return _Table.model_validate(tomllib.loads(raw))


@cache
def gpu_methods() -> dict[str, GpuMethod]:
    """Every such method by its name on the wire."""
    return {name: GpuMethod.model_validate({"name": name, **row}) for name, row in _table().methods.items()}


def render(chosen: GpuMethod, effort: Effort) -> Rendering:
    """The step for a machine with a GPU; `./model`, `./calibration.txt` and `./output` are to lie beside the script.

    Raises:
        AgentError: `tool_failed` where the step does not fit what the tool publishes.
    """
    arguments = (
        *("--model", "/model", "--calibration", "/calibration.txt", "--output", "/output"),
        *("--configuration", chosen.configuration),
        *("--samples", str(effort.samples), "--tokens", str(effort.tokens)),
    )
    mounts = ("model:/model:ro", "calibration.txt:/calibration.txt:ro", "output:/output", f"{SCRIPT.name}:/ptq.py:ro")
    volumes = [word for mount in mounts for word in ("--volume", f"./{mount}")]
    table = _table()
    return Rendering(
        method=chosen.name,
        script_name=SCRIPT.name,
        script=SCRIPT.read_text(encoding="utf-8"),
        container=table.container.image,
        command=(
            *("docker", "run", "--rm", "--gpus", "all", "--network", "none", *volumes),
            *(table.container.image, "python", "/ptq.py", *arguments),
        ),
        needs=chosen.needs,
        engines=chosen.engines,
        checks=check(SCRIPT, arguments, table.published),
        unchecked=("that the container can be pulled and holds this version", "memory of the GPU", "speed and quality"),
        source=f"{table.published.source}; {table.container.source}",
    )


def check(script: Path, arguments: tuple[str, ...], published: Published) -> tuple[str, ...]:
    """What was found to hold of a script and its arguments, a sentence each.

    Raises:
        AgentError: `tool_failed`, naming what does not hold.
    """
    tree = ast.parse(script.read_text(encoding="utf-8"), script.name)
    compile(tree, script.name, "exec")
    told = _parsed(script, arguments)
    if told.configuration not in published.configurations:
        raise _wrong(f"{published.package} {published.version} has no configuration {told.configuration}")
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = _called(call.func)
        if name is None:
            continue
        known = published.functions.get(name)
        if known is None:
            raise _wrong(f"{published.package} {published.version} publishes no function {name}")
        strange = [word.arg for word in call.keywords if word.arg not in known]
        if strange or len(call.args) > len(known):
            raise _wrong(f"{name} takes {', '.join(known)}, not {strange[0] if strange else 'so many arguments'}")
    return (
        f"{script.name} compiles",
        "its own parser takes the arguments",
        f"configuration and functions are those of {published.package} {published.version}",
    )


def _parsed(script: Path, arguments: tuple[str, ...]) -> argparse.Namespace:
    """The arguments as the script's own parser reads them; its heavy imports wait until it is run."""
    parser = cast("argparse.ArgumentParser", runpy.run_path(str(script))["parser"]())
    try:
        return parser.parse_args(arguments)
    except SystemExit as error:
        raise _wrong(f"{script.name} does not take its arguments") from error


def _called(function: ast.expr) -> str | None:
    """The tool's function that is called, None where it is another's."""
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == MODULE:
        return function.attr
    return function.id if isinstance(function, ast.Name) and function.id == EXPORT else None


def _wrong(what: str) -> AgentError:
    return AgentError(ErrorCode.TOOL_FAILED, f"the step for the GPU is not sound: {what}")
