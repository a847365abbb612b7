"""A job's directory in, its report on the terminal out."""

from pathlib import Path

import typer
from rich.console import Console
from rich.markdown import Markdown

from handlers.markdown.report import report_markdown
from schemas.error import AgentError, ErrorCode
from schemas.report import Report


def run_report(job: str, runs: Path, *, json: bool) -> None:
    """Print the report of `job`, an id under `runs` or the path of its folder.

    Raises:
        AgentError: `unknown_job` where there is no report.
    """
    path = next(
        (folder / "report.json" for folder in (runs / job, Path(job)) if (folder / "report.json").is_file()), None
    )
    if path is None:
        jobs = ", ".join(sorted(folder.parent.name for folder in runs.glob("*/report.json"))[-5:]) or "none"
        raise AgentError(ErrorCode.UNKNOWN_JOB, f"no report of {job} under {runs}; the latest finished jobs: {jobs}")
    if json:
        typer.echo(path.read_text())
    else:
        show(Report.model_validate_json(path.read_bytes()))


def show(report: Report) -> None:
    """The report as rich text on a terminal, as Markdown where the output is not one."""
    text = report_markdown(report)
    console = Console()
    if console.is_terminal:
        console.print(Markdown(text))
    else:
        typer.echo(text)
