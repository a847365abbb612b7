"""The pictures of a report: trials in the plane of quality and speed, and latency against load. SVG by matplotlib."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from executors.files import partial
from handlers.optimization.verdict import capacity
from schemas.measurement import Arrivals, GateDecision, LoadLevel, LoadReport
from schemas.report import Trial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (7.0, 4.2)
LANE = 0.08
"""Of the plot's height: the distance between those that were never loaded."""
FAR = 4
"""A limit further off than so many times the largest loss would leave no room for the losses."""
LOADS = {
    Arrivals.CONCURRENCY: "open requests",
    Arrivals.POISSON: "requests/s, Poisson arrivals",
    Arrivals.CONSTANT: "requests/s, evenly spaced",
}
PASSED, FAILED, BASE = "#1b7f4d", "#b3261e", "#444444"


def draw(directory: Path, baseline: LoadReport, trials: tuple[Trial, ...], limit: float) -> tuple[str, ...]:
    """Write the plots into `directory`; the names of the files written."""
    if not _can_draw():
        return ()
    loads = [("untouched", baseline)]
    loads += [(trial.candidate.strategy.label, trial.load) for trial in trials if trial.load]
    return (
        _save(_frontier(baseline, trials, limit), directory / "frontier.svg"),
        _save(_latency(loads, Arrivals.CONCURRENCY), directory / "latency.svg"),
    )


def draw_load(directory: Path, load: LoadReport) -> tuple[str, ...]:
    """Write latency against the kind of load that had most levels; the names of the files written.

    None where no kind had two.
    """
    kind = max(LOADS, key=lambda kind: len(_curve(load, kind)))
    if len(_curve(load, kind)) < 2 or not _can_draw():  # noqa: PLR2004 - a line has two ends
        return ()
    return (_save(_latency([(load.strategy, load)], kind), directory / "latency.svg"),)


def draw_quality(directory: Path, gate: GateDecision) -> tuple[str, ...]:
    """Write the curve of what was lost by position in the context; the names of the files written."""
    return (_save(_positions(gate), directory / "positions.svg"),) if _can_draw() else ()


def _can_draw() -> bool:
    """Whether matplotlib is here; it is optional, and reports have the figures in tables too."""
    return find_spec("matplotlib") is not None


def _positions(gate: GateDecision) -> "Figure":
    """Difference of nll with its standard error, and divergence, against tokens of context."""
    figure, axes = _blank()
    places = gate.quality.positions
    starts = [place.start for place in places]
    axes.axhline(0, color=BASE, linewidth=1)
    errors = [place.standard_error for place in places]
    axes.errorbar(
        starts,
        [place.nll_difference for place in places],
        yerr=errors,
        fmt="o-",
        color=FAILED,
        capsize=3,
        label="difference of negative log-likelihood, with its standard error",
    )
    axes.plot(starts, [place.kl for place in places], "s--", color=BASE, label="KL divergence")
    axes.set(xlabel="tokens of context", ylabel="nats per token, candidate against baseline (measured)")
    axes.set_title("What is lost by position", fontsize=10, loc="left")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _blank() -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure  # noqa: PLC0415 - heavy, and only a report needs it

    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _save(figure: "Figure", path: Path) -> str:
    with partial(path) as draft:
        figure.savefig(draft, metadata={"Date": None})
        draft.replace(path)
    return path.name


def _frontier(baseline: LoadReport, trials: tuple[Trial, ...], limit: float) -> "Figure":
    """Measured quality loss with its interval against measured throughput; what failed the gate lies below the axis."""
    figure, axes = _blank()
    base = capacity(baseline).throughput_rps.value
    judged = [(trial, trial.gate.quality) for trial in trials if trial.gate]
    loaded = [(quality, capacity(trial.load).throughput_rps.value, trial) for trial, quality in judged if trial.load]
    top = max([base, *(speed for _, speed, _ in loaded)])
    stopped = [(trial, quality) for trial, quality in judged if not trial.load]
    lanes = [(quality, -LANE * top * (place + 1), trial) for place, (trial, quality) in enumerate(stopped)]
    reach = max((quality.loss_high for _, quality in judged), default=limit)
    if limit <= FAR * reach:
        axes.axvline(limit * 100, color=FAILED, linestyle="--", linewidth=1, label=f"limit {limit:.1%}")
    else:
        axes.plot([], [], color=FAILED, linestyle="--", linewidth=1, label=f"limit {limit:.1%}, far to the right")
    axes.plot(0, base, "s", color=BASE, label="untouched")
    for quality, height, trial in (*loaded, *lanes):
        color = PASSED if trial.load else FAILED
        width = [[(quality.loss - quality.loss_low) * 100], [(quality.loss_high - quality.loss) * 100]]
        axes.errorbar(quality.loss * 100, height, xerr=width, fmt="o", color=color, capsize=3)
        at = (100 * (quality.loss_low if trial.load else quality.loss_high), height)
        axes.annotate(
            _short(trial),
            at,
            textcoords="offset points",
            xytext=(0, 4) if trial.load else (6, 0),
            va="bottom" if trial.load else "center",
            fontsize=9,
            color=color,
        )
    axes.axhline(0, color=BASE, linewidth=0.8)
    axes.set_ylim(-LANE * top * (len(lanes) + 1), 1.12 * top)
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= 1.12 * top])
    axes.margins(x=0.12)
    axes.set(
        xlabel="perplexity loss against the baseline, % (measured, with interval)",
        ylabel="requests/s at capacity (measured)",
    )
    axes.set_title("Quality and speed; below the line: stopped by the gate, never loaded", fontsize=10, loc="left")
    axes.legend(frameon=False)
    return figure


def _short(trial: Trial) -> str:
    """A trial's engine and format, as a label has room for them."""
    strategy = trial.candidate.strategy
    return f"{strategy.engine} {strategy.weight_format}" + ("+imatrix" if strategy.importance_matrix else "")


def _latency(loads: "Sequence[tuple[str, LoadReport]]", kind: Arrivals) -> "Figure":
    """Latency p50 and p95 against one kind of load, on a logarithmic scale; a line where a stress test broke."""
    from matplotlib.ticker import LogFormatter  # noqa: PLC0415 - heavy, and only a report needs it

    figure, axes = _blank()
    for name, load in loads:
        levels = _curve(load, kind)
        settings = [level.setting for level in levels]
        p50, p95 = ([getattr(level.latency, share).value for level in levels] for share in ("p50", "p95"))
        (line,) = axes.plot(settings, p50, "o-", label=name)
        axes.plot(settings, p95, "x--", color=line.get_color(), alpha=0.7)
        if kind is Arrivals.CONCURRENCY:
            axes.set_xticks(settings)
        elif load.knee and load.knee.broke:
            axes.axvline(load.knee.broke, color=FAILED, linestyle=":", label="broke")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
    axes.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
    axes.set(xlabel=LOADS[kind], ylabel="end-to-end latency, ms (measured, logarithmic)")
    axes.set_title("Latency against load: p50 as a line with dots, p95 dashed with crosses", fontsize=10, loc="left")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _curve(load: LoadReport, kind: Arrivals) -> list[LoadLevel]:
    """The levels of one kind that were answered, the lightest first."""
    found = [level for level in load.levels if level.arrivals is kind and level.latency]
    return sorted(found, key=lambda level: level.setting)
