import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAPPING = (ROOT / "docs" / "protocol-mapping.md").read_text()


def test_every_place_in_the_mapping_exists() -> None:
    """Files and tests that docs/protocol-mapping.md names are there."""
    for place in re.findall(r"`((?:acp|schemas|handlers|cli|tests|benchmarks)/[^`]+)`", MAPPING):
        file, _, test = place.partition("::")
        assert (ROOT / file).is_file(), file
        assert not test or f"def {test}(" in (ROOT / file).read_text(), place


def test_every_module_of_the_wire_is_in_the_mapping() -> None:
    """A module that keeps no rule has no reason to be."""
    plumbing = {"__init__.py", "routes.py", "work.py", "metrics.py", "problems.py", "reports.py"}
    modules = {file for file in (ROOT / "acp").rglob("*.py") if file.name not in plumbing}

    assert {str(file.relative_to(ROOT)) for file in modules} <= set(re.findall(r"`(acp/[^`]+\.py)`", MAPPING))
