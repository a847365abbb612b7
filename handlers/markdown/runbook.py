"""Alerts in, the runbook out: what each one means, how to check it, what to do, how to undo."""

from collections.abc import Iterable

from schemas.alerts import AlertKind
from schemas.handover import HandOver
from schemas.text import code, escape

HEAD = """\
# Runbook

One section for each alert of [rules.yml](../deploy/prometheus/rules.yml), which names it in its `runbook` annotation.
Made from `executors/deploy/alerts.toml` by `make docs`.
"""


def runbook(alerts: Iterable[AlertKind], head: str = HEAD) -> str:
    """The whole page."""
    return "\n".join((head, *(section(item) for item in alerts)))


def release_runbook(left: HandOver, alerts: Iterable[AlertKind]) -> str:
    """The page for one release: what the alerts call it, and how it is taken back."""
    release = left.release
    head = (
        f"# Runbook: {escape(release.model)}\n\n"
        f"In alerts this service is `deployment={release.name}`, this release `strategy={release.version}` "
        f"({escape(release.strategy.label)}); on one machine the strategy is the release's number. "
        f"Made for job {code(release.job)}; the guide is [handover.md](handover.md).\n\n"
        f"To undo: {escape(left.undo, 600)}\n"
    )
    return runbook(alerts, head)


def section(item: AlertKind) -> str:
    """One alert: its heading is what the alert links to."""
    when = "at once" if item.hold == "0s" else f"after {item.hold}"
    lines = [
        f"## {item.name}\n",
        f"{'Wakes somebody' if item.severity == 'page' else 'Waits for the morning'}; fires {when}.\n",
        f"- **Means:** {item.meaning}",
        f"- **Check:** {item.check}",
        f"- **Do:** {item.act}",
        *([f"- **Undo:** {item.undo}"] if item.undo else []),
    ]
    return "\n".join(lines) + "\n"
