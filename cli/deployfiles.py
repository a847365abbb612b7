"""Files of `deploy/` and `docs/` that are made, not written: `make docs` runs this."""

from pathlib import Path

from executors.deploy import monitoring
from executors.deploy.alerts import alerts
from executors.files import write_whole
from handlers.markdown.runbook import runbook


def write(root: Path) -> None:
    """Every such file under the project's `root`."""
    monitoring.write(root / "deploy" / "prometheus")
    write_whole(root / "docs" / "runbook.md", runbook(alerts()))


if __name__ == "__main__":
    write(Path())
