"""A rollout as a person reads it: how it ended and why, step by step, on what it was judged."""

from collections.abc import Iterator

from handlers.markdown.sections import document, gates
from handlers.markdown.text import number, table
from schemas.deployment import RolloutOutcome, RolloutStep, Service
from schemas.text import escape


def rollout_markdown(outcome: RolloutOutcome) -> str:
    """The outcome of one rollout."""
    return document(_parts(outcome))


def _parts(outcome: RolloutOutcome) -> Iterator[str]:
    yield f"**{escape(outcome.sentence, 900)}**"
    yield _figures(outcome)
    if outcome.steps:
        header = ("share", "held", "new: requests, failed", "new: p50, p95", "old: requests, p95", "passed")
        yield "## Steps\n\n" + table(header, map(_step, outcome.steps))
        judged = [(step, item) for step in outcome.steps for item in step.judgements]
        rows = [
            (f"{step.share:.0%}", item.metric.value, item.verdict.value, escape(item.sentence, 300))
            for step, item in judged
        ]
        yield "## Judgements\n\n" + table(("share", "metric", "verdict", "measured"), rows)
    if outcome.quality:
        yield "## Quality on live prompts\n\n" + gates([(outcome.new, outcome.quality)])
    if outcome.sampling:
        yield f"Judged with {escape(outcome.sampling.sentence, 300)}."


def _figures(outcome: RolloutOutcome) -> str:
    """Times and counts, a line each."""
    lines = [f"- It took {outcome.seconds:.1f} s; {outcome.requests} requests came, {outcome.failed} failed."]
    if outcome.latency_limit_ms is not None:
        lines.append(f"- Latency limit: 95 % of the requests within {outcome.latency_limit_ms:.0f} ms at the gateway.")
    if outcome.shadow:
        lines.append(f"- Shadow: {outcome.shadow.requests} requests replayed, {outcome.shadow.failed} failed.")
    if outcome.back_s is not None and outcome.drained_s is not None:
        lines.append(
            f"- From the verdict to all requests at the old release: {outcome.back_s * 1e3:.1f} ms; the requests under "
            f"way were finished {outcome.drained_s:.1f} s later."
        )
    if outcome.resumed:
        lines.append("- Another agent had begun it; this one looked at what was running and went on.")
    return "\n".join(lines)


def _step(step: RolloutStep) -> tuple[str, ...]:
    new, old = step.new, step.old
    return (
        f"{step.share:.0%}",
        f"{step.seconds:.1f} s",
        f"{new.requests}, {new.failed}",
        f"{_ms(new, 'p50')}, {_ms(new, 'p95')}",
        f"{old.requests}, {_ms(old, 'p95')}",
        "yes" if step.passed else "no",
    )


def _ms(service: Service, share: str) -> str:
    if service.latency is None:
        return "none"
    found = {"p50": service.latency.p50, "p95": service.latency.p95}[share]
    return f"{number(found.value)} ms"
