"""The sections of a report that are about one candidate's quality: by position in the context, and on tasks."""

from collections.abc import Sequence

from handlers.markdown.text import table
from schemas.artifact import Artifact
from schemas.measurement import QualityMeasurement, TaskComparison
from schemas.text import escape

CURVE_ROWS = 12
"""Of a loss curve; the whole of it is beside the weights."""


def positions(quality: QualityMeasurement) -> str:
    """What was lost by place in the chunk."""
    rows = (
        (
            str(place.start),
            f"{place.nll_difference:+.4f} ({place.standard_error:.4f})",
            f"{place.kl:.4f}",
            f"{place.top1:.1%}",
            str(place.tokens),
        )
        for place in quality.positions
    )
    head = ("context, tokens", "nll difference, nats/token (standard error)", "KL", "top-1", "tokens")
    bound = "KL is a lower bound: the candidate told only its likeliest tokens.\n\n" if quality.kl_is_bound else ""
    return bound + table(head, rows)


def pictures(plots: Sequence[str]) -> str:
    """Plots beside the report."""
    return "".join(f"\n![{name.removesuffix('.svg')}]({name})\n" for name in plots)


def training(artifact: Artifact) -> str:
    """The loss curve of a method that trains, and the divergence on rows that it did not learn from."""
    steps = len(artifact.curve)
    shown = sorted({round(at * (steps - 1) / (CURVE_ROWS - 1)) for at in range(CURVE_ROWS)}) if steps > 1 else [0]
    rows = ((str(at + 1), f"{artifact.curve[at]:.3f}") for at in shown)
    before, after = (artifact.parameters.get(name) for name in ("kl_before", "kl_after"))
    held = f"On rows held out the divergence went from {before:.3f} to {after:.3f} nats per token.\n\n" if after else ""
    return held + table(("step", "loss, nats/token"), rows)


def tasks(found: Sequence[TaskComparison]) -> str:
    """Scores on tasks, paired by item, and where the items come from."""
    rows = (
        (
            escape(one.task),
            escape(one.metric),
            f"{one.baseline:.3f}",
            f"{one.candidate:.3f}",
            f"{one.difference:+.3f} ({one.low:+.3f} to {one.high:+.3f})",
            f"{one.standard_error:.3f}",
            str(one.items),
        )
        for one in found
    )
    head = ("task", "metric", "baseline", "candidate", "difference (95 %)", "standard error", "items")
    sources = {f"{one.task}: {one.source}" for one in found}
    notes = "".join(f"- {escape(source, 300)}\n" for source in sorted(sources))
    told = "The gate does not look at these. Larger is better; differences are paired by item.\n\n"
    return f"{told}{table(head, rows)}\n{notes}"
