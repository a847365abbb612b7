"""Log lines out, one JSON object each, with the job and trace they belong to and without secrets."""

import logging
import re
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

_SECRET_NAME = re.compile(r"(?i)(token|password|secret|seed|api_key|authorization|creds)$")
_SECRET_TEXT = re.compile(r"(?i)(://[^/\s:@]*:)[^@\s]+@|\b(S[UAO][A-Z2-7]{50,})\b|\b(hf_\w{8,})\b")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Take out what must not be in a log: passwords, tokens and seeds, by name and by shape; terminal escapes."""
    for name, value in event.items():
        if _SECRET_NAME.search(name):
            event[name] = "[redacted]"
        elif isinstance(value, str):
            hidden = _SECRET_TEXT.sub(lambda match: f"{match[1] or ''}[redacted]{'@' if match[1] else ''}", value)
            event[name] = _CONTROL.sub(" ", hidden)
    return event


def configure(level: str = "info", *, json: bool = True, file: TextIO = sys.stderr) -> None:
    """Send structured log lines to standard error, or to `file`."""
    renderer = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file),
        cache_logger_on_first_use=True,
    )
