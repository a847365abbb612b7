"""A job that has ended in, its report out: as the handler wrote it, else made of the job's outcome."""

from pathlib import Path

from aiohttp import web

from acp.codec import decode_own
from acp.markdown import document
from schemas.error import AgentError, ErrorCode
from schemas.job import JobSummary


def report(summary: JobSummary, outcome: bytes | None, directory: Path, accept: str) -> web.Response:
    """Markdown, or JSON where `accept` names it first.

    Raises:
        AgentError: `not_finished`.
    """
    if outcome is None and not summary.state.terminal:
        raise AgentError(ErrorCode.NOT_FINISHED, f"{summary.job} is {summary.state}; its report comes with its end")
    result = outcome or summary.model_dump_json(exclude_none=True).encode()
    if _wants_json(accept):
        return web.Response(body=_written(directory / "report.json") or result, content_type="application/json")
    text = _written(directory / "report.md") or document(decode_own(result)).encode()
    return web.Response(body=text, content_type="text/markdown", charset="utf-8")


def _wants_json(accept: str) -> bool:
    kinds = [part.split(";")[0].strip() for part in accept.split(",")]
    json_at = kinds.index("application/json") if "application/json" in kinds else len(kinds)
    return json_at < (kinds.index("text/markdown") if "text/markdown" in kinds else len(kinds))


def _written(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None
