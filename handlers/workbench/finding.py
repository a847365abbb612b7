"""A finding in, the end of its job out: report.json and report.md in the job's directory, and the terminal update."""

from pydantic import BaseModel

from executors.files import write_whole
from handlers.workbench.bench import Bench, metrics_of, quality_of
from schemas.findings import ComparisonReport, PerformanceReport, QualityReport
from schemas.job import Outcome
from schemas.measurement import GateDecision, LoadReport
from schemas.plan import StepKind
from schemas.status import InferenceStatus


def end(
    bench: Bench,
    report: PerformanceReport | QualityReport | ComparisonReport,
    markdown: str,
    *,
    phase: StepKind,
    load: LoadReport | None = None,
    gate: GateDecision | None = None,
) -> Outcome:
    """Keep the report for programs and for people; the outcome shows the figures of `load` and `gate`."""
    keep(bench, report, markdown)
    status = InferenceStatus(
        state=report.state,
        phase=phase,
        optimization=report.hash.removesuffix("_v1"),
        detail=report.sentence,
        progress=1.0,
        metrics=load and metrics_of(load.levels[-1]),
        quality=gate and quality_of(gate),
    )
    return Outcome(state=report.state, summary=report.sentence, status=status, label=report.hash)


def keep(bench: Bench, report: BaseModel, markdown: str) -> None:
    """Write both forms of a report."""
    write_whole(bench.job.directory / "report.json", report.model_dump_json(indent=1))
    write_whole(bench.job.directory / "report.md", markdown)
