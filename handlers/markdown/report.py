"""A report as a person reads it: verdict first, then what to do, then what was measured, and how to undo it."""

from collections.abc import Iterator

from handlers.markdown.text import figure, table
from handlers.optimization.delegate import told
from schemas.artifact import Artifact
from schemas.measurement import LoadLevel, LoadReport
from schemas.report import Comparison, Report
from schemas.text import escape


def report_markdown(report: Report) -> str:
    """The whole page."""
    return "\n".join(part.rstrip() + "\n" for part in _parts(report))


def _parts(report: Report) -> Iterator[str]:
    yield f"# {escape(report.model)}: {'met' if report.state == 'completed' else 'not met'}"
    yield f"**{escape(report.sentence, 600)}**"
    yield "## What to do\n\n" + _bullets(report.actions)
    yield "## Asked and measured\n\n" + _lines(report)
    if report.before_after:
        yield "## Before and after\n\n" + _before_after(report)
    yield "## Quality gate\n\n" + _gate(report)
    yield "## What was tried\n\n" + _trials(report)
    if report.not_tried:
        yield "Not tried:\n\n" + _bullets(report.not_tried)
    if report.plots:
        yield "## Plots\n\n" + "\n".join(f"![{name.removesuffix('.svg')}]({name})" for name in report.plots)
    yield "## Predicted against measured\n\n" + _comparisons(report)
    yield "## Load, level by level\n\n" + _levels(report)
    if report.handoffs:
        yield "## Handed to others\n\n" + _bullets(told(report.handoffs))
    yield "## Cost\n\n" + escape(report.cost.sentence, 600)
    yield (
        "## Conditions and assumptions\n\n"
        + _bullets((*report.conditions, report.baseline_note))
        + _assumptions(report)
    )
    yield "## Reproduce\n\n" + "\n".join(f"    {line}" for line in report.reproduce)
    yield "## Undo\n\n" + escape(report.undo, 600)
    yield "## Files\n\n" + _bullets(tuple(_file(artifact) for artifact in report.artifacts))


def _file(artifact: Artifact) -> str:
    output, tools = artifact.output, ", ".join(artifact.tools)
    size, digest = f"{output.bytes / 1e6:.1f} MB", output.sha256[:16]
    return f"{output.name}, {size}, sha256 {digest}, by {tools} in {artifact.seconds:.0f} s"


def _bullets(sentences: tuple[str, ...]) -> str:
    return "".join(f"- {escape(sentence, 600)}\n" for sentence in sentences)


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
    head = f"Baseline F16 against {chosen}, all measured; times with 90 % bootstrap intervals, rates without.\n\n"
    return head + table(("metric", "before", "after", "change"), rows)


def _gate(report: Report) -> str:
    judged = [trial for trial in report.trials if trial.gate]
    if not judged:
        return "No candidate was judged."
    rows = []
    for trial in judged:
        gate = trial.gate
        if gate is None:
            continue
        quality = gate.quality
        rows.append(
            (
                escape(trial.candidate.strategy.label),
                f"{quality.loss:+.2%} ({quality.loss_low:+.2%} to {quality.loss_high:+.2%})",
                f"{quality.kl:.4f} ({quality.kl_low:.4f} to {quality.kl_high:.4f})",
                f"{quality.top1:.1%}",
                str(quality.tokens),
                gate.verdict.value,
            )
        )
    limit = judged[0].gate.limit if judged[0].gate else 0.0
    head = f"Passes only when the upper end of the loss interval is within {limit:.2%}; undecided never passes.\n\n"
    return head + table(("candidate", "perplexity loss", "KL, nats/token", "top-1", "tokens", "gate"), rows)


def _trials(report: Report) -> str:
    return table(
        ("candidate", "outcome", "why"),
        (
            (escape(trial.candidate.strategy.label), trial.outcome.value.replace("_", " "), escape(trial.sentence, 400))
            for trial in report.trials
        ),
    )


def _comparisons(report: Report) -> str:
    def rows(label: str, comparisons: tuple[Comparison, ...]) -> Iterator[tuple[str, ...]]:
        for item in comparisons:
            agree = "intervals agree" if item.covered else "**intervals apart**"
            yield (
                escape(label),
                escape(item.metric),
                figure(item.predicted),
                figure(item.measured),
                f"{_percent(item.error)}, {agree}",
            )

    tried = [(report.baseline.strategy, report.baseline_comparisons)]
    tried += [(trial.candidate.strategy.label, trial.comparisons) for trial in report.trials]
    header = ("candidate", "metric", "predicted", "measured", "error")
    return table(header, (row for label, comparisons in tried for row in rows(label, comparisons)))


def _percent(error: float | None) -> str:
    return "n/a" if error is None else f"{error:+.0%}"


def _levels(report: Report) -> str:
    loads = [report.baseline, *(trial.load for trial in report.trials if trial.load)]
    header = (
        "strategy",
        "load",
        "requests/s",
        "tok/s",
        "TTFT p50 / p95",
        "TPOT p50",
        "latency p50 / p95 / p99",
        "errors",
        "CPU",
        "RSS",
    )
    return table(header, (_level(load, level) for load in loads for level in load.levels))


def _level(load: LoadReport, level: LoadLevel) -> tuple[str, ...]:
    ttft, tpot, latency = level.ttft, level.tpot, level.latency
    return (
        escape(load.strategy),
        f"{level.arrivals.value} {level.setting:.3g}",
        f"{level.throughput_rps.value:.2f}",
        f"{level.output_tokens_s.value:.1f}",
        f"{ttft.p50.value:.0f} / {ttft.p95.value:.0f} ms" if ttft else "none",
        f"{tpot.p50.value:.0f} ms" if tpot else "none",
        f"{latency.p50.value:.0f} / {latency.p95.value:.0f} / {latency.p99.value:.0f} ms" if latency else "none",
        f"{level.errors} of {level.requests}",
        f"{level.resources.cpu_util:.0%}",
        f"{level.resources.rss_peak_mb:.0f} MB",
    )


def _assumptions(report: Report) -> str:
    return _bullets(tuple(f"assumed: {item.name} = {item.value}, because {item.why}" for item in report.assumptions))
