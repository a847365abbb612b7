"""The layout's promises: imports follow the arrows, no file is too long, no name is taken by another package."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ARROWS = {
    "schemas": set(),
    "planners": {"schemas"},
    "executors": {"schemas"},
    "acp": {"schemas"},
    "handlers": {"schemas", "planners", "executors"},
    "cli": {"schemas", "planners", "executors", "acp", "handlers"},
}
LONGEST = 300


def sources() -> list[Path]:
    """Every Python file of the project."""
    return sorted(path for package in ARROWS for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Our own packages that a file imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found & set(ARROWS)


def test_imports_follow_the_arrows() -> None:
    """A file imports only from its own package and from those its package may see."""
    wrong = {}
    for path in sources():
        package = path.relative_to(ROOT).parts[0]
        if astray := imported(path) - ARROWS[package] - {package}:
            wrong[str(path.relative_to(ROOT))] = astray
    assert wrong == {}


def test_no_file_is_two_ideas() -> None:
    """No file passes 300 lines."""
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources()}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST} == {}
    assert len(lengths) > 100


def test_help_needs_no_heavy_import() -> None:
    """The command line starts without numpy, aiohttp, nats or matplotlib."""
    code = "import sys, cli.main; print(*sorted({'numpy', 'aiohttp', 'nats', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    assert done.stdout.strip() == ""
