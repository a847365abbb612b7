"""Import names in, nothing out, unless a package of another project answers to one of ours."""

import importlib.util
from pathlib import Path

OURS = ("acp", "executors", "handlers", "planners", "schemas")


def check_imports() -> None:
    """Make sure that our packages are ours.

    Raises:
        SystemExit: naming the package that shadows one of them; `acp` is also that of the Agent Client Protocol.
    """
    root = Path(__file__).parents[1]
    for name in OURS:
        found = importlib.util.find_spec(name)
        origin = Path(found.origin) if found and found.origin else None
        if origin is None or origin.parents[1] != root:
            raise SystemExit(
                f"another package named {name} is installed at {origin}: give inferwright an environment of its own"
            )
