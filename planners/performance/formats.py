"""Weight and KV formats by name: bits per weight, the arithmetic they run in, the group of kernels that serves them."""

import csv
from functools import cache
from importlib.resources import files
from typing import NamedTuple

_KV_BYTES = {"FP32": 4.0, "FP16": 2.0, "BF16": 2.0, "FP8": 1.0, "INT8": 1.0, "Q8_0": 34 / 32, "Q4_0": 18 / 32}


class WeightFormat(NamedTuple):
    """A weight format. `bits` per weight include scales; `compute` is a key of `Accelerator.tflops`."""

    name: str
    bits: float
    compute: str
    group: str
    source: str


@cache
def formats() -> dict[str, WeightFormat]:
    """Every known weight format by its name."""
    text = files("planners").joinpath("data/formats.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return {
        row["format"]: WeightFormat(row["format"], float(row["bits"]), row["compute"], row["group"], row["source"])
        for row in rows
    }


def weight_format(name: str) -> WeightFormat:
    """The format called `name`.

    Raises:
        ValueError: with the known names.
    """
    found = formats().get(name)
    if found is None:
        raise ValueError(f"weight format {name!r} is not known; known are {', '.join(sorted(formats()))}")
    return found


def kv_bytes(name: str) -> float:
    """Bytes of one cached element in the KV format called `name`.

    Raises:
        ValueError: with the known names.
    """
    if name not in _KV_BYTES:
        raise ValueError(f"KV format {name!r} is not known; known are {', '.join(sorted(_KV_BYTES))}")
    return _KV_BYTES[name]
