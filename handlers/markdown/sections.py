"""The sections that reports share: conditions, gate, load levels, predicted against measured, files."""

from collections.abc import Iterable, Iterator, Sequence

from handlers.markdown.text import figure, number, table
from schemas.artifact import Artifact
from schemas.measurement import Arrivals, GateDecision, LoadLevel, LoadReport
from schemas.plan import Assumption
from schemas.report import Comparison
from schemas.resources import EngineMetrics, Profile
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
    output = artifact.output
    size, digest = f"{output.bytes / 1e6:.1f} MB", output.sha256[:16]
    return f"{output.name}, {size}, sha256 {digest}, by {artifact.makers} in {artifact.seconds:.0f} s"


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


def loads(reports: Sequence[LoadReport]) -> str:
    """Every level of every load test, and what the engine said of itself meanwhile."""
    rows = [(load.strategy, level) for load in reports for level in load.levels]
    return levels(rows) + _machines(rows)


def levels(rows: Iterable[tuple[str, LoadLevel]]) -> str:
    """Levels of load, each behind a label."""
    header = (
        "strategy",
        "load",
        "counted",
        "requests/s",
        "tok/s",
        "TTFT p50 / p95",
        "TPOT p50",
        "latency p50 / p95 / p99",
        "goodput",
        "failed",
        "CPU",
        "memory",
    )
    return table(header, (_level(label, level) for label, level in rows))


def _level(label: str, level: LoadLevel) -> tuple[str, ...]:
    ttft, tpot, latency = level.ttft, level.tpot, level.latency
    timeouts = f" + {level.timeouts} timed out" if level.timeouts else ""
    return (
        escape(label),
        load_of(level),
        f"steady {level.steady.completed} of {level.requests}" if level.steady else f"all {level.requests}",
        figure(level.throughput_rps, evidence=False).replace(" requests/s", ""),
        f"{level.output_tokens_s.value:.1f}",
        f"{ttft.p50.value:.0f} / {ttft.p95.value:.0f} ms" if ttft else "none",
        f"{tpot.p50.value:.1f} ms" if tpot else "none",
        f"{latency.p50.value:.0f} / {latency.p95.value:.0f} / {latency.p99.value:.0f} ms" if latency else "none",
        _goodput(level),
        f"{level.errors}{timeouts}",
        f"{level.resources.cpu_util:.0%}, {level.resources.other_cores:.1f} cores by others",
        f"{level.resources.rss_peak_mb:.0f} MB" + _growth(level.resources.rss_growth_mb_per_hour),
    )


def load_of(level: LoadLevel) -> str:
    """A level's load in words short enough for a cell."""
    rate = f"{level.setting:.3g}/s"
    words = {
        Arrivals.CONCURRENCY: f"{level.setting:g} open",
        Arrivals.POISSON: f"Poisson {rate}",
        Arrivals.CONSTANT: f"even {rate}",
        Arrivals.TRACE: f"trace {rate}",
    }
    return words[level.arrivals]


def percentiles(load: LoadReport) -> str:
    """Every level's percentiles with their intervals."""
    rows = (
        (load_of(level), name, *(figure(share, evidence=False) for share in (found.p50, found.p95, found.p99)))
        for level in load.levels
        for name, found in (("TTFT", level.ttft), ("TPOT", level.tpot), ("latency", level.latency))
        if found
    )
    head = "Of the requests that were counted, with 90 % intervals by bootstrap.\n\n"
    return head + table(("load", "metric", "p50", "p95", "p99"), rows)


def _goodput(level: LoadLevel) -> str:
    if level.goodput_rps is None or level.attained is None:
        return "no SLA"
    return f"{level.goodput_rps.value:.2f}/s, {level.attained:.0%} of all"


def _machines(rows: Sequence[tuple[str, LoadLevel]]) -> str:
    """What engines and GPUs said of themselves while each level ran; nothing where none did."""
    told = [(label, level) for label, level in rows if level.resources.engine or level.resources.gpu_util is not None]
    if not told:
        return ""
    header = ("strategy", "load", "answered at once", "queue mean / peak", "KV cache", "prompt / made tokens", "GPU")
    return "\nAs the engine said of itself (`/metrics`), and NVML of the GPUs:\n\n" + table(
        header, (_machine(label, level) for label, level in told)
    )


def _machine(label: str, level: LoadLevel) -> tuple[str, ...]:
    used, engine = level.resources, level.resources.engine or EngineMetrics(scrapes=0)
    gpu = "none here"
    if used.gpu_util is not None:
        gpu = f"{used.gpu_util:.0%}, {_or_unknown(used.gpu_memory_peak_mb)} MB, {_or_unknown(used.gpu_power_w)} W"
    cached = f", {level.cached_share:.0%} of prompts cached" if level.cached_share else ""
    return (
        escape(label),
        load_of(level),
        _or_unknown(engine.running_peak),
        f"{_or_unknown(engine.queue_mean)} / {_or_unknown(engine.queue_peak)}",
        "not said" if engine.kv_used_peak is None else f"{engine.kv_used_peak:.0%}",
        f"{_or_unknown(engine.prompt_tokens)} / {_or_unknown(engine.generated_tokens)}{cached}",
        gpu,
    )


def _or_unknown(value: float | None) -> str:
    return "?" if value is None else number(value)


def profiled(profile: Profile) -> str:
    """Where the engine spent its time: the largest shares, and what could not be sampled."""
    rows = ((spot.tool, escape(spot.where), f"{spot.share:.1%}") for spot in profile.hotspots)
    head = f"Sampled for {profile.seconds:g} s with {escape(profile.load)}, after the figures above were taken.\n\n"
    return head + (table(("by", "function", "share"), rows) + "\n" if profile.hotspots else "") + bullets(profile.notes)


def _growth(mb_per_hour: float | None) -> str:
    return "" if mb_per_hour is None else f", {mb_per_hour:+.0f} MB an hour"
