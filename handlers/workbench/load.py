"""Load on the workbench: weights and a strategy in, a served model under the plan's traffic, and what came out."""

from pathlib import Path

from executors.measure.load import measure
from executors.serve import llamacpp
from executors.serve.engine import Endpoint
from handlers.workbench.bench import Bench, Stage
from schemas.error import AgentError, ErrorCode
from schemas.measurement import Arrivals, LevelSpec, LoadLevel, LoadReport, LoadSpec
from schemas.plan import PlannedWorkload, StepKind, Strategy

PROMPTS = 32
CHARACTERS_PER_TOKEN = 12
"""More than English text has, so that the prompts never run short."""


async def load_test(
    bench: Bench, strategy: Strategy, weights: Path, *, workload: PlannedWorkload, phase: StepKind, stage: Stage
) -> LoadReport:
    """Serve `weights` as `strategy` says and put the plan's load on it; an update after every level.

    The step and its files are named after the phase for the baseline, else after the strategy.
    """
    name = phase.value if phase is StepKind.BASELINE else run_name(strategy, weights)

    async def run() -> LoadReport:
        async def after(level: LoadLevel) -> None:
            detail = f"{level.arrivals.value} {level.setting:.3g}: {level.throughput_rps.value:.2f} requests/s"
            await bench.say(phase, stage, detail, level=level)

        log = bench.log(f"serve-{name}")
        async with llamacpp.serve(strategy, weights, python=bench.tools.python, log=log) as endpoint:
            return await measure(
                endpoint,
                await prompts_of(bench, endpoint, workload.input_tokens),
                _spec(bench, strategy, workload),
                strategy=strategy.label,
                rows=bench.job.directory / f"load-{name}.jsonl",
                on_level=after,
            )

    return await bench.step(f"load-{name}", LoadReport, run)


def run_name(strategy: Strategy, weights: Path) -> str:
    """The name of a strategy's load test."""
    return f"{weights.stem}-{strategy.threads}t-{strategy.max_sequences}s-{strategy.batched_tokens}b"


async def prompts_of(bench: Bench, endpoint: Endpoint, length: int) -> list[list[int]]:
    """Different prompts of `length` tokens each, out of the calibration text.

    Raises:
        AgentError: `unsupported` where the text is shorter than one prompt.
    """
    source = bench.texts.calibration
    text = source.path.read_text(encoding="utf-8")[: PROMPTS * length * CHARACTERS_PER_TOKEN]
    ids = await llamacpp.tokens(endpoint, text)
    prompts = [ids[start : start + length] for start in range(0, len(ids) - length + 1, length)][:PROMPTS]
    if not prompts:
        detail = f"{source.name} is shorter than a prompt of {length} tokens; name a longer text"
        raise AgentError(ErrorCode.UNSUPPORTED, detail)
    return prompts


def _spec(bench: Bench, strategy: Strategy, workload: PlannedWorkload) -> LoadSpec:
    """One, half as many and as many open requests as the strategy has slots; last, what latency is held against.

    That is Poisson arrivals at the plan's rate, or its number of open requests where nobody named a rate.
    """
    effort, slots = bench.workshop.effort, strategy.max_sequences

    def closed(open_requests: int) -> LevelSpec:
        return LevelSpec(
            arrivals=Arrivals.CONCURRENCY,
            setting=open_requests,
            requests=max(2 * open_requests, effort.requests // 2),
            limit_s=effort.level_limit_s,
        )

    held = closed(workload.concurrency)
    if workload.request_rate:
        update = {"arrivals": Arrivals.POISSON, "setting": workload.request_rate, "requests": effort.requests}
        held = held.model_copy(update=update)
    levels = [level for level in map(closed, sorted({1, max(1, slots // 2), slots})) if level != held]
    return LoadSpec(
        input_tokens=workload.input_tokens,
        output_tokens=workload.output_tokens,
        warmup_requests=effort.warmup,
        levels=(*levels, held),
    )
