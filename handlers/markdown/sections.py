"""The sections that reports share: conditions, gate, load levels, predicted against measured, files."""

from collections.abc import Iterable, Iterator, Sequence

from handlers.markdown.text import figure, table
from schemas.artifact import Artifact
from schemas.measurement import GateDecision, LoadLevel, LoadReport
from schemas.plan import Assumption
from schemas.report import Comparison
from schemas.text import escape


def document(parts: Iterable[str]) -> str:
    """The whole page."""
    return "\n".join(part.rstrip() + "\n" for part in parts)


def bullets(sentences: Sequence[str]) -> str:
    """A list."""
    return "".join(f"- {escape(sentence, 600)}\n" for sentence in sentences)


def assumed(assumptions: Sequence[Assumption]) -> str:
    """What was taken as given."""
    return bullets([f"assumed: {item.name} = {item.value}, because {item.why}" for item in assumptions])


def file(artifact: Artifact) -> str:
    """One artifact, its size, digest and makers."""
    output, tools = artifact.output, ", ".join(artifact.tools)
    size, digest = f"{output.bytes / 1e6:.1f} MB", output.sha256[:16]
    return f"{output.name}, {size}, sha256 {digest}, by {tools} in {artifact.seconds:.0f} s"


def gates(judged: Sequence[tuple[str, GateDecision]]) -> str:
    """What the gate said of each candidate, by its label."""
    if not judged:
        return "No candidate was judged."
    rows = (
        (
            escape(label),
            f"{gate.quality.loss:+.2%} ({gate.quality.loss_low:+.2%} to {gate.quality.loss_high:+.2%})",
            f"{gate.quality.kl:.4f} ({gate.quality.kl_low:.4f} to {gate.quality.kl_high:.4f})",
            f"{gate.quality.top1:.1%}",
            str(gate.quality.tokens),
            gate.verdict.value,
        )
        for label, gate in judged
    )
    limit = judged[0][1].limit
    head = f"Passes only when the upper end of the loss interval is within {limit:.2%}; undecided never passes.\n\n"
    return head + table(("candidate", "perplexity loss", "KL, nats/token", "top-1", "tokens", "gate"), rows)


def comparisons(tried: Iterable[tuple[str, Sequence[Comparison]]]) -> str:
    """Predicted against measured, by label."""

    def rows() -> Iterator[tuple[str, ...]]:
        for label, items in tried:
            for item in items:
                agree = "intervals agree" if item.covered else "**intervals apart**"
                error = "n/a" if item.error is None else f"{item.error:+.0%}"
                yield (
                    escape(label),
                    escape(item.metric),
                    figure(item.predicted),
                    figure(item.measured),
                    f"{error}, {agree}",
                )

    return table(("candidate", "metric", "predicted", "measured", "error"), rows())


def loads(reports: Iterable[LoadReport]) -> str:
    """Every level of every load test."""
    return levels((load.strategy, level) for load in reports for level in load.levels)


def levels(rows: Iterable[tuple[str, LoadLevel]]) -> str:
    """Levels of load, each behind a label."""
    header = (
        "strategy",
        "load",
        "requests/s",
        "tok/s",
        "TTFT p50 / p95",
        "TPOT p50",
        "latency p50 / p95 / p99",
        "goodput",
        "errors",
        "CPU",
        "RSS",
    )
    return table(header, (_level(label, level) for label, level in rows))


def _level(label: str, level: LoadLevel) -> tuple[str, ...]:
    ttft, tpot, latency = level.ttft, level.tpot, level.latency
    return (
        escape(label),
        f"{level.arrivals.value} {level.setting:.3g}",
        f"{level.throughput_rps.value:.2f}",
        f"{level.output_tokens_s.value:.1f}",
        f"{ttft.p50.value:.0f} / {ttft.p95.value:.0f} ms" if ttft else "none",
        f"{tpot.p50.value:.0f} ms" if tpot else "none",
        f"{latency.p50.value:.0f} / {latency.p95.value:.0f} / {latency.p99.value:.0f} ms" if latency else "none",
        f"{level.goodput_rps.value:.2f}/s" if level.goodput_rps else "no SLA",
        f"{level.errors} of {level.requests}",
        f"{level.resources.cpu_util:.0%}",
        f"{level.resources.rss_peak_mb:.0f} MB" + _growth(level.resources.rss_growth_mb_per_hour),
    )


def _growth(mb_per_hour: float | None) -> str:
    return "" if mb_per_hour is None else f", {mb_per_hour:+.0f} MB an hour"
