"""A report as a person reads it: verdict first, then what to do, then what was measured, and how to undo it."""

from collections.abc import Iterator

from handlers.markdown.sections import assumed, bullets, comparisons, document, file, gates, loads
from handlers.markdown.text import figure, table
from handlers.optimization.delegate import told
from schemas.report import Report
from schemas.text import counted, escape


def report_markdown(report: Report) -> str:
    """The whole page."""
    return document(_parts(report))


def _parts(report: Report) -> Iterator[str]:
    yield f"# {escape(report.model)}: {'met' if report.state == 'completed' else 'not met'}"
    yield f"**{escape(report.sentence, 600)}**"
    yield "## What to do\n\n" + bullets(report.actions)
    yield "## Asked and measured\n\n" + _lines(report)
    if report.before_after:
        yield "## Before and after\n\n" + _before_after(report)
    yield "## Quality gate\n\n" + _gate(report)
    yield "## What was tried\n\n" + _engines(report) + _trials(report)
    if report.not_tried:
        yield "Not tried:\n\n" + bullets(report.not_tried)
    if report.plots:
        yield "## Plots\n\n" + "\n".join(f"![{name.removesuffix('.svg')}]({name})" for name in report.plots)
    yield "## Predicted against measured\n\n" + _comparisons(report)
    if report.learned:
        yield "## What measuring taught the plan\n\n" + _learned(report)
    yield "## Load, level by level\n\n" + _levels(report)
    if report.handoffs:
        yield "## Handed to others\n\n" + bullets(told(report.handoffs))
    if report.handover:
        links = "\n".join(f"- [{name}]({name})" for name in report.handover)
        yield f"## Hand-over\n\n{links}\n\nManifests and service files are in `deploy/`."
    yield "## Cost\n\n" + escape(report.cost.sentence, 600)
    yield (
        "## Conditions and assumptions\n\n"
        + bullets((*report.conditions, report.baseline_note))
        + assumed(report.assumptions)
    )
    yield "## Reproduce\n\n" + "\n".join(f"    {line}" for line in report.reproduce)
    yield "## Undo\n\n" + escape(report.undo, 600)
    yield "## Files\n\n" + bullets(tuple(file(artifact) for artifact in report.artifacts))


def _lines(report: Report) -> str:
    rows = (
        (
            escape(line.name),
            escape(line.limit),
            figure(line.measured),
            "met" if line.met else "**not met**",
            escape(line.conditions),
        )
        for line in report.lines
    )
    return table(("limit", "asked", "measured", "verdict", "conditions"), rows)


def _before_after(report: Report) -> str:
    def change(before: float, after: float) -> str:
        return f"{(after - before) / before:+.0%}" if before else "n/a"

    rows = (
        (
            escape(row.metric),
            figure(row.before, evidence=False),
            figure(row.after, evidence=False),
            change(row.before.value, row.after.value),
        )
        for row in report.before_after
    )
    chosen = escape(report.chosen or "nothing chosen")
    head = (
        f"The untouched model against {chosen}, all measured; intervals are 90 %, rates of short levels have none.\n\n"
    )
    return head + table(("metric", "before", "after", "change"), rows)


def _gate(report: Report) -> str:
    return gates([(trial.candidate.strategy.label, trial.gate) for trial in report.trials if trial.gate])


def _engines(report: Report) -> str:
    """Which engines took part, and how to let the others."""
    here = [item.engine for item in report.engines if not item.missing]
    lines = [f"Engines considered: {', '.join(here)}."] if here else []
    lines += [
        f"Not installed: {item.engine}; to let it take part: `inferwright toolchain install {' '.join(item.missing)}`"
        for item in report.engines
        if item.missing
    ]
    return "".join(f"{line}\n\n" for line in lines)


def _trials(report: Report) -> str:
    return table(
        ("candidate", "outcome", "why"),
        (
            (escape(trial.candidate.strategy.label), trial.outcome.value.replace("_", " "), escape(trial.sentence, 400))
            for trial in report.trials
        ),
    )


def _comparisons(report: Report) -> str:
    tried = [(f"untouched: {report.baseline.strategy}", report.baseline_comparisons)]
    return comparisons((*tried, *((trial.candidate.strategy.label, trial.comparisons) for trial in report.trials)))


def _learned(report: Report) -> str:
    rows = (
        (
            escape(item.strategy),
            escape(item.metric),
            figure(item.first, evidence=False),
            figure(item.corrected, evidence=False),
            figure(item.measured, evidence=False),
            f"{item.error_first:.0%}",
            f"{item.error_corrected:.0%}",
        )
        for item in report.learned
    )
    count = len(report.learned)
    before = sum(item.error_first for item in report.learned) / count
    after = sum(item.error_corrected for item in report.learned) / count
    nearer = "nearer" if after < before else "**no nearer**"
    head = (
        f"Each trial was taken from a plan that knew what had been measured before it. Over the "
        f"{counted(count, 'figure')} that this changed it was {nearer} than the first one, with a mean error of "
        f"{after:.0%} instead of {before:.0%}. An error is |ln(predicted / measured)|.\n\n"
    )
    header = ("candidate", "metric", "first plan", "corrected plan", "measured", "error before", "error after")
    return head + table(header, rows)


def _levels(report: Report) -> str:
    untouched = report.baseline.model_copy(update={"strategy": f"untouched: {report.baseline.strategy}"})
    return loads([untouched, *(trial.load for trial in report.trials if trial.load)])
