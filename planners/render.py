"""A plan in, Markdown for people out: the verdict first."""

import shlex

from planners.figures import counted, plain, shown
from schemas.evidence import Estimate
from schemas.plan import Candidate, Plan
from schemas.text import code, escape

_MAX_TEXT = 400
_TRIALS = 12
_MARK = " (with the others so marked)"
_REASONS = 16


def plan_markdown(plan: Plan) -> str:
    """The whole plan as Markdown, ending in one newline."""
    parts = [
        f"# Plan for {safe(plan.model)} on {safe(plan.hardware)}",
        f"**{safe(plan.verdict)}**",
        _conditions(plan),
        _table("What to do, in order of trial", plan.chosen, plan),
        _relaxations(plan),
        _bullets("What more would buy", [f"{item.step}: {item.gain}" for item in plan.sensitivity]),
        _memory(plan),
        _launch(plan),
        _steps(plan),
        _bullets("Hand-offs", [f"{item.peer}: {item.work}" for item in plan.handoffs]),
        _table("Frontier", plan.frontier, plan),
        _ruled_out(plan),
        _bullets("Assumed", [f"{item.name}: {item.value} ({item.why})" for item in plan.assumptions]),
        f"## Undo\n\n{safe(plan.undo)}" if plan.undo else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def safe(text: str) -> str:
    """`text` as Markdown shows it letter by letter, on one line, cut to a bearable length."""
    return escape(text, _MAX_TEXT)


def _conditions(plan: Plan) -> str:
    work = plan.workload
    arrivals = (
        f"{counted(work.request_rate, 'request')}/s (Poisson)"
        if work.request_rate
        else f"{counted(work.concurrency, 'request')} always open"
    )
    arrivals = "all queued at once" if work.batch_job else arrivals
    prefix = f", {work.shared_prefix_tokens} of them shared" if work.shared_prefix_tokens else ""
    return (
        f"Requests of {work.input_tokens} tokens in{prefix}, {work.output_tokens} out; {arrivals}. "
        f"Quality may fall by {plan.max_quality_loss:.1%}. Considered: {plan.considered:,} candidates. "
        f"Today's bottleneck is {safe(plan.bottleneck)}."
    )


def _table(title: str, candidates: tuple[Candidate, ...], plan: Plan) -> str:
    if not candidates:
        return ""
    listed = candidates[:_TRIALS] if title != "Frontier" else candidates
    rows = [_row("baseline", plan.baseline)] + [_row(str(number), one) for number, one in enumerate(listed, 1)]
    head = "| | strategy | p50 ms | p95 ms | TTFT ms | TPOT ms | requests/s | loss | $/month | $/1k | evidence |"
    rule = "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|"
    notes = [
        f"- {number}: {safe('; '.join(one.reasons))}"
        for number, one in (("baseline", plan.baseline), *enumerate(listed, 1))
        if one.reasons
    ]
    body = "\n".join([head, rule, *rows])
    return f"## {title}\n\n{body}" + ("\n\n" + "\n".join(notes) if notes and title != "Frontier" else "")


def _row(number: str, candidate: Candidate) -> str:
    guess, strategy = candidate.prediction, candidate.strategy
    layout = f", TP {strategy.tensor_parallel} x PP {strategy.pipeline_parallel}" if strategy.count > 1 else ""
    kv = f", {strategy.kv_format} KV" if strategy.kv_format != "FP16" else ""
    cells = [
        number,
        safe(strategy.label + layout + kv),
        _span(guess.latency_p50_ms),
        _span(guess.latency_p95_ms),
        _span(guess.ttft_p50_ms),
        _span(guess.tpot_ms),
        _span(guess.throughput_rps),
        _percent(guess.quality_loss),
        "" if guess.cost_monthly_usd is None else f"{guess.cost_monthly_usd.value:,.0f}",
        "" if guess.cost_per_1k_usd is None else f"{guess.cost_per_1k_usd.value:.3g}",
        _evidence(candidate),
    ]
    return f"| {' | '.join(cells)} |"


def _evidence(candidate: Candidate) -> str:
    """The class of the latencies; of TPOT and of the rate too where those stand on something else."""
    guess = candidate.prediction
    kinds = {"TPOT": guess.tpot_ms.evidence, "rate": guess.throughput_rps.evidence}
    rest = [f"{name} {kind}" for name, kind in kinds.items() if kind != guess.latency_p95_ms.evidence]
    return ", ".join([f"{guess.latency_p95_ms.evidence}", *rest])


def _span(estimate: Estimate) -> str:
    return f"{_figure(estimate.value)} ({_figure(estimate.low)} to {_figure(estimate.high)})"


def _figure(value: float) -> str:
    """Three digits, and thousands told apart."""
    return f"{float(f'{value:.3g}'):,.10g}"


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.2%} ({estimate.low:.2%} to {estimate.high:.2%})"


def _relaxations(plan: Plan) -> str:
    rows = [
        f"| {safe(item.limit)}{_MARK if item.jointly else ''} | {shown(item.asked, item.unit)} "
        f"| {shown(item.needed, item.unit)} | {safe(item.strategy)} |"
        for item in plan.relaxations
    ]
    if not rows:
        return ""
    head = "| limit | asked | nearest that would do | with |\n|---|---:|---:|---|\n"
    return f"## What binds\n\n{head}" + "\n".join(rows)


def _memory(plan: Plan) -> str:
    rows = [
        f"| {name} | {_figure(memory.weights_gb)} | {_figure(memory.kv_cache_gb)} | {_figure(memory.activations_gb)} "
        f"| {_figure(memory.runtime_gb)} | {plain(memory.total_gb)} |"
        for name, memory in (
            ("baseline", plan.baseline.memory),
            *((str(number), one.memory) for number, one in enumerate(plan.chosen[:_TRIALS], 1)),
        )
    ]
    head = "| GB of one replica | weights | KV cache | activations | runtime | all |\n|---|---:|---:|---:|---:|---:|\n"
    return "## Memory\n\n" + head + "\n".join(rows)


def _launch(plan: Plan) -> str:
    start = plan.launch
    if start is None:
        return ""
    run = "" if start.run_here else f" Not run here: checked against what {safe(start.checked_against)} publishes."
    parts = [f"## Arguments for {safe(start.engine)}", code(shlex.join(start.arguments), 2000) + run]
    if start.settings:
        parts.append(f"Its settings file:\n\n```yaml\n{start.settings}```")
    if start.kernels:
        rows = [f"- {safe(one.setting)}: {code(one.value, 300)} ({safe(one.why)})" for one in start.kernels]
        parts.append("\n".join(rows))
    if start.container and not start.run_here:
        command = shlex.join(start.container.docker_run)
        parts.append(f"In its maker's container, not run here either:\n\n{code(command, 4000)}")
    return "\n\n".join(parts)


def _steps(plan: Plan) -> str:
    rows = [
        f"{number}. {safe(step.phase)}: {safe(step.name)} ({safe(step.executor)}): {safe(step.detail)}"
        for number, step in enumerate(plan.steps, 1)
    ]
    return "## Steps\n\n" + "\n".join(rows) if rows else ""


def _ruled_out(plan: Plan) -> str:
    rows = [f"| {item.count:,} | {safe(item.reason)} | {safe(item.example)} |" for item in plan.ruled_out[:_REASONS]]
    if not rows:
        return ""
    rest = sum(item.count for item in plan.ruled_out[_REASONS:])
    more = [f"| {rest:,} | {len(plan.ruled_out) - _REASONS} other reasons | |"] if rest else []
    return "## Ruled out\n\n| candidates | why | one of them |\n|---:|---|---|\n" + "\n".join([*rows, *more])


def _bullets(title: str, lines: list[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {safe(line)}" for line in lines) if lines else ""
