"""Alerts on a service in production: the series they watch, when they fire, and what a person does then."""

from schemas.base import Record


class AlertKind(Record):
    """One alert: when it fires, what it means to a person, and what to do."""

    name: str
    severity: str
    expr: str
    """PromQL over the recording rules."""
    hold: str
    """How long it must hold before it fires (`for`); `0s` is at once."""
    summary: str
    meaning: str
    check: str
    act: str
    undo: str = ""

    @property
    def anchor(self) -> str:
        """Of its section in the runbook."""
        return self.name.lower()


class RecordingRule(Record):
    """A series that Prometheus keeps: the common name of what each engine calls differently."""

    record: str
    expr: str
