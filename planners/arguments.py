"""A rendered command line in, what its engine would refuse about it out: against the arguments engines publish.

`data/arguments.csv` holds every flag of each launcher at one version, with the kind of its value and the values it is
limited to; keys of settings that are given as JSON, or in the file behind a flag, follow that flag after a dot.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from planners.tables import table, words

_SAME = {"neuron": "vllm"}
"""Engines whose server is another's: vLLM with the Neuron plug-in."""

Settings = Mapping[str, "object"]


@dataclass(frozen=True)
class Argument:
    """One published flag. `kind` is none, int, float, json or str; `most` tells how many values may follow."""

    kind: str
    most: int
    least: int
    choices: tuple[str, ...]


@cache
def published(engine: str) -> dict[str, Argument]:
    """The flags of an engine's launcher by name; empty where nothing is known of it."""
    name = _SAME.get(engine, engine)
    return {row["flag"]: _argument(row) for row in table("arguments") if row["engine"] == name}


@cache
def publisher(engine: str) -> str:
    """Whose arguments an engine's are held against, with the version."""
    name = _SAME.get(engine, engine)
    return next(f"{name} {row['version']}" for row in table("arguments") if row["engine"] == name)


def _argument(row: dict[str, str]) -> Argument:
    kind = row["kind"]
    most = 0 if kind == "none" else 1 << 10 if kind.endswith("+") else 1
    return Argument(kind.rstrip("+?"), most, 0 if kind == "none" or kind.endswith("?") else 1, words(row["choices"]))


def faults(engine: str, command: Sequence[str], settings: Settings | None = None, behind: str = "") -> tuple[str, ...]:
    """What is wrong with a command line's flags, and with the `settings` in the file behind a flag; a sentence each."""
    known = published(engine)
    found = [fault for flag, values in _parted(command) for fault in _flag_faults(known, flag, values)]
    if settings:
        found += _key_faults(known, behind, settings)
    return tuple(found)


def _parted(command: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Flags with the words that follow them; words before the first flag belong to none."""
    flag, values = "", list[str]()
    for word in command:
        if word.startswith("-") and not _is_number(word):
            if flag or values:
                yield flag, values
            flag, values = word, []
        else:
            values.append(word)
    if flag or values:
        yield flag, values


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _flag_faults(known: Mapping[str, Argument], flag: str, values: list[str]) -> Iterator[str]:
    argument = known.get(flag)
    if argument is None:
        yield f"{flag or values[0]} is not published" if flag else f"{values[0]} follows no flag"
        return
    if len(values) < argument.least:
        yield f"{flag} lacks its value"
    if len(values) > argument.most:
        yield f"{flag} takes {argument.most or 'no'} value: {' '.join(values)}"
        return
    for value in values:
        if argument.kind == "json":
            yield from _json_faults(known, flag, value)
        else:
            yield from _value_faults(flag, argument, value)


def _json_faults(known: Mapping[str, Argument], flag: str, value: str) -> Iterator[str]:
    try:
        given = json.loads(value)
    except ValueError:
        yield f"{flag} takes JSON: {value}"
        return
    if isinstance(given, dict):
        yield from _key_faults(known, flag, given)


def _key_faults(known: Mapping[str, Argument], flag: str, given: Settings) -> Iterator[str]:
    """Faults of the keys below a flag, whose values are read already."""
    for key, value in given.items():
        name = f"{flag}.{key}"
        if isinstance(value, Mapping):
            yield from _key_faults(known, name, value)
        elif name not in known:
            yield f"{name} is not published"
        elif known[name].kind == "none":
            if not isinstance(value, bool):
                yield f"{name} takes true or false: {value}"
        else:
            each = value if isinstance(value, list) and known[name].most > 1 else [value]
            yield from (fault for one in each for fault in _value_faults(name, known[name], str(one)))


def _value_faults(flag: str, argument: Argument, value: str) -> Iterator[str]:
    whole = value.removeprefix("-").isdecimal()
    if (argument.kind == "int" and not whole) or (argument.kind == "float" and not _is_number(value)):
        yield f"{flag} takes {'a whole number' if argument.kind == 'int' else 'a number'}: {value}"
    elif argument.choices and value not in argument.choices:
        yield f"{flag} takes {', '.join(argument.choices[:12])}: {value}"
