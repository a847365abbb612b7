"""Load on the workbench: weights and a strategy in, a served model under the plan's traffic, and what came out."""

from pathlib import Path

from executors import toolchain
from executors.measure.load import LoadGenerator, measure
from executors.measure.profile import PYSPY, Profiler
from executors.serve import llamacpp
from executors.serve.engine import Endpoint
from handlers.optimization.advice import from_file
from handlers.workbench.bench import Bench, Stage
from handlers.workbench.generators import generator_of
from handlers.workbench.nsight import nsight
from handlers.workbench.shapes import Load, busiest, usual
from planners.catalog import accelerator_from_host
from schemas.measurement import LoadLevel, LoadReport
from schemas.plan import PlannedWorkload, StepKind, Strategy
from schemas.resources import Profile


async def load_test(
    bench: Bench,
    strategy: Strategy,
    weights: Path,
    *,
    workload: PlannedWorkload,
    phase: StepKind,
    stage: Stage,
    profile: bool = False,
) -> LoadReport:
    """Serve `weights` as `strategy` says and put the plan's load on it; an update after every level.

    The step and its files are named after the phase for the baseline, else after the strategy.
    """
    served = f"{weights.stem}-{strategy.threads}t-{strategy.max_sequences}s-{strategy.batched_tokens}b"
    name = phase.value if phase is StepKind.BASELINE else served
    load = Load(usual(bench.workshop.effort, strategy, workload), profile=profile)
    return await shaped_load(bench, strategy, weights, load, name=name, phase=phase, stage=stage)


async def shaped_load(
    bench: Bench, strategy: Strategy, weights: Path, load: Load, *, name: str, phase: StepKind, stage: Stage
) -> LoadReport:
    """The same with a load of any shape, and a profile after it where that is asked for."""

    async def run() -> LoadReport:
        async def after(level: LoadLevel) -> None:
            detail = f"{level.arrivals.value} {level.setting:.3g}: {level.throughput_rps.value:.2f} requests/s"
            await bench.say(phase, stage, detail, level=level)

        log = bench.log(f"serve-{name}")
        async with (
            llamacpp.serve(
                strategy, weights, python=bench.tools.python, log=log, limits=bench.workshop.limits
            ) as endpoint,
            generator_of(bench, endpoint, load.spec, name) as generator,
        ):
            report = await measure(
                endpoint,
                generator,
                load.spec,
                strategy=strategy.label,
                rows=bench.job.directory / f"load-{name}.jsonl",
                on_level=after,
                more=load.more,
            )
            profile = await _profiled(bench, endpoint, generator, load, name) if load.profile else None
            if profile and (how := nsight(strategy, from_file(bench.source), accelerator_from_host(bench.host))):
                profile = profile.model_copy(update={"notes": (*profile.notes, how)})
        told = {"knee": load.knee(report.levels), "profile": profile, "prefix_caching": strategy.prefix_caching}
        return report.model_copy(update=told)

    return await bench.step(f"load-{name}", LoadReport, run)


async def _profiled(bench: Bench, endpoint: Endpoint, generator: LoadGenerator, load: Load, name: str) -> Profile:
    """What the engine does under the heaviest closed loop of the load, after all figures were taken."""
    cache = bench.workshop.cache
    pyspy = toolchain.find(PYSPY, cache) if toolchain.installed(PYSPY, cache) else None
    level = busiest(load.spec)
    profiler = Profiler(bench.log(f"profile-{name}"), pyspy)
    return await profiler.profile(endpoint, generator, level, f"{level.setting:g} open requests")
