"""The package's own data files in, rows of text out; read once, the only reading this package does."""

import csv
from functools import cache
from importlib.resources import files
from io import StringIO


@cache
def table(name: str) -> tuple[dict[str, str], ...]:
    """Rows of `planners/data/<name>.csv`, each a column's name to its text."""
    text = files("planners").joinpath("data", f"{name}.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(StringIO(text)))


def words(text: str) -> tuple[str, ...]:
    """The parts of a cell that lists several, separated by semicolons."""
    return tuple(part.strip() for part in text.split(";") if part.strip())
