import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAPPING = (ROOT / "docs" / "protocol-mapping.md").read_text()


def test_every_place_in_the_mapping_exists() -> None:
    """Files and tests that docs/protocol-mapping.md names are there."""
    for place in re.findall(r"`((?:acp|schemas|handlers|executors|cli|tests|benchmarks)/[^`]+)`", MAPPING):
        file, _, test = place.partition("::")
        assert (ROOT / file).is_file(), file
        assert not test or f"def {test}(" in (ROOT / file).read_text(), place


def test_every_fault_and_attack_has_a_line_with_a_test() -> None:
    """F01 to F28 and T01 to T14, each once."""
    lines = dict(re.findall(r"^\| ([FT]\d\d) \|[^|]+\| (.+) \|$", MAPPING, re.MULTILINE))

    assert list(lines) == [f"F{n:02d}" for n in range(1, 29)] + [f"T{n:02d}" for n in range(1, 15)]
    assert [name for name, line in lines.items() if "::test_" not in line] == []


def test_every_module_of_the_wire_is_in_the_mapping() -> None:
    """A module that keeps no rule has no reason to be."""
    plumbing = {"__init__.py", "routes.py", "work.py", "metrics.py", "problems.py", "reports.py"}
    modules = {file for file in (ROOT / "acp").rglob("*.py") if file.name not in plumbing}

    assert {str(file.relative_to(ROOT)) for file in modules} <= set(re.findall(r"`(acp/[^`]+\.py)`", MAPPING))
