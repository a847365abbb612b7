"""Findings of single parts of the loop as a person reads them: verdict first, figures, conditions."""

import shlex
from collections.abc import Iterator

from handlers.markdown.quality import pictures, positions, tasks, training
from handlers.markdown.sections import (
    assumed,
    bullets,
    comparisons,
    document,
    file,
    gates,
    levels,
    loads,
    percentiles,
    profiled,
)
from handlers.markdown.text import figure, table
from handlers.optimization.delegate import told
from schemas.delegation import HandoffOutcome
from schemas.findings import ComparisonReport, PerformanceReport, QualityReport, RenderedReport
from schemas.text import escape


def performance_markdown(report: PerformanceReport) -> str:
    """One strategy under load."""
    return document(_performance(report))


def quality_markdown(report: QualityReport) -> str:
    """One candidate against its baseline."""
    return document(_quality(report))


def comparison_markdown(report: ComparisonReport) -> str:
    """Strategies side by side."""
    return document(_comparison(report))


def rendered_markdown(report: RenderedReport) -> str:
    """A step for hardware that is not here."""
    return document(_rendered(report))


def _performance(report: PerformanceReport) -> Iterator[str]:
    yield f"# {escape(report.model)}: measured"
    yield f"**{escape(report.sentence, 600)}**"
    yield "## Load, level by level\n\n" + loads([report.load]) + pictures(report.plots)
    yield "## Percentiles\n\n" + percentiles(report.load)
    if report.load.profile:
        yield "## Where the time went\n\n" + profiled(report.load.profile)
    if report.comparisons:
        yield "## Predicted against measured\n\n" + comparisons([(report.load.strategy, report.comparisons)])
    yield from _handed(report.handoffs)
    notes = (*report.conditions, *([report.baseline_note] if report.baseline_note else []))
    yield "## Conditions and assumptions\n\n" + bullets(notes) + assumed(report.assumptions)


def _quality(report: QualityReport) -> Iterator[str]:
    yield f"# {escape(report.model)}, {escape(report.candidate)}: {report.gate.verdict}"
    yield f"**{escape(report.sentence, 600)}**"
    yield "## Quality gate\n\n" + gates([(report.candidate, report.gate)])
    yield "## By position\n\n" + positions(report.gate.quality) + pictures(report.plots)
    if report.tasks:
        yield "## Tasks\n\n" + tasks(report.tasks)
    if report.comparisons:
        yield "## Predicted against measured\n\n" + comparisons([(report.candidate, report.comparisons)])
    if report.artifact:
        wrote = f"It wrote after a fixed prompt: {report.artifact.sample}"
        yield "## File\n\n" + bullets((file(report.artifact), wrote))
        if report.artifact.curve:
            yield "## Training\n\n" + training(report.artifact)
    yield from _handed(report.handoffs)
    text = f"Scored on {report.gate.quality.text}."
    yield "## Conditions\n\n" + bullets((*report.conditions, text, report.baseline_note))


def _rendered(report: RenderedReport) -> Iterator[str]:
    step = report.rendering
    yield f"# {escape(report.model)}, {escape(step.method)}: planned only"
    yield f"**{escape(report.sentence, 900)}**"
    beside = f"Beside {step.script_name} lie the model's folder as `model` and a text as `calibration.txt`; then run"
    yield f"## What to run where there is a GPU\n\n{beside}:\n\n    {shlex.join(step.command)}"
    loads_it = f"By their documentation these load the result: {', '.join(step.engines)}."
    yield "## Checked here\n\n" + bullets((*step.checks, f"Against {step.source}."))
    yield "## Not checked\n\n" + bullets((*step.unchecked, loads_it))
    yield from _handed(report.handoffs)


def _comparison(report: ComparisonReport) -> Iterator[str]:
    yield f"# {escape(report.model)}: {len(report.contenders)} strategies side by side"
    yield f"**{escape(report.sentence, 600)}**"
    first = report.contenders[0].strategy.label
    rows = (
        (
            escape(contender.strategy.label),
            pair.metric,
            figure(pair.ratio),
            pair.verdict.value.replace("_", " "),
        )
        for contender in report.contenders
        for pair in contender.against_first
    )
    head = f"Over {escape(first)}, paired round by round; the interval is 90 %.\n\n"
    yield "## Against the first\n\n" + head + table(("strategy", "metric", "ratio", "verdict"), rows)
    judged = [(contender.strategy.label, contender.gate) for contender in report.contenders if contender.gate]
    yield "## Quality gate\n\n" + gates(judged)
    named = (
        (f"{contender.strategy.label}, round {number}", level)
        for contender in report.contenders
        for number, level in enumerate(contender.rounds, start=1)
    )
    yield "## Rounds\n\n" + levels(named)
    yield "## Conditions\n\n" + bullets((*report.conditions, report.baseline_note))


def _handed(handoffs: tuple[HandoffOutcome, ...]) -> Iterator[str]:
    if handoffs:
        yield "## Handed to others\n\n" + bullets(told(handoffs))
