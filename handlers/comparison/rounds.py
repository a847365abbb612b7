"""Forms of one model in, rounds of the same load on each in turn out."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from executors.compress.gguf import PLAIN, Recipe
from executors.compress.methods import Method
from executors.measure.paired import interleaved
from executors.serve.engine import Engine
from handlers.workbench.bench import Bench, Stage
from handlers.workbench.engines import serving, strategy_for
from handlers.workbench.forms import build, gate_of
from handlers.workbench.generators import generator_of
from handlers.workbench.weights import Base
from schemas.base import Record
from schemas.measurement import Arrivals, GateDecision, LevelSpec, LoadLevel, LoadSpec
from schemas.plan import Plan, StepKind, Strategy

LABEL = "comparison_v1"


class Form(Record):
    """One form of the model: its file, how it is served, and what it lost (None for the untouched one)."""

    path: Path
    strategy: Strategy
    gate: GateDecision | None


class Rounds(Record):
    """What the load came to: levels by form, then round."""

    levels: tuple[tuple[LoadLevel, ...], ...]


async def make(
    bench: Bench, base: Base, contenders: Sequence[tuple[Engine, Recipe | Method]], served: Strategy, limit: float
) -> list[Form]:
    """Every contender's weights, judged, to be served as `served` says with its own engine."""
    forms = []
    for number, (chosen, recipe) in enumerate(contenders):
        strategy = strategy_for(served, chosen, recipe)
        stage = Stage(LABEL, strategy.label, 0.1 + 0.4 * number / len(contenders))
        if isinstance(recipe, Recipe) and recipe.weight_format in PLAIN:
            forms.append(Form(path=base.path, strategy=strategy, gate=None))
            continue
        built = await build(bench, base, recipe, stage)
        gate = await gate_of(bench, built, strategy, limit, stage)
        forms.append(Form(path=built.weights.path, strategy=strategy, gate=gate))
    return forms


def level_of(bench: Bench, planned: Plan) -> LevelSpec:
    """The load of one round: as many open requests as the plan expects, within the slots."""
    effort, slots = bench.workshop.effort, planned.baseline.strategy.max_sequences
    return LevelSpec(
        arrivals=Arrivals.CONCURRENCY,
        setting=min(slots, planned.workload.concurrency),
        requests=max(effort.requests // 2, planned.workload.concurrency),
        limit_s=effort.level_limit_s,
    )


async def measure(bench: Bench, planned: Plan, forms: Sequence[Form]) -> Rounds:
    """All forms served at once, one loaded at a time; a journaled step."""
    rounds = bench.workshop.effort.rounds

    async def run() -> Rounds:
        async with contextlib.AsyncExitStack() as stack:
            endpoints = [
                await stack.enter_async_context(
                    serving(bench, form.strategy, form.path, f"{form.strategy.engine}-{form.path.stem}")
                )
                for form in forms
            ]

            async def after(number: int, place: int, level: LoadLevel) -> None:
                strategy = forms[place].strategy
                stage = Stage(LABEL, strategy.label, 0.5 + 0.45 * number / (rounds + 1))
                detail = f"round {number} of {rounds}: {level.throughput_rps.value:.2f} requests/s"
                await bench.say(StepKind.VALIDATION, stage, detail, level=level)

            spec = LoadSpec(
                input_tokens=planned.workload.input_tokens,
                output_tokens=planned.workload.output_tokens,
                shared_prefix_tokens=planned.workload.shared_prefix_tokens,
                levels=(level_of(bench, planned),),
                generator=bench.workshop.effort.generator,
            )
            generators = [
                await stack.enter_async_context(generator_of(bench, endpoint, spec, f"{LABEL}-{number}"))
                for number, endpoint in enumerate(endpoints)
            ]
            found = await interleaved(
                list(zip(endpoints, generators, strict=True)),
                spec.levels[0],
                rounds=rounds,
                rows=bench.job.directory / "rounds.jsonl",
                on_round=after,
            )
        return Rounds(levels=tuple(tuple(levels) for levels in found))

    return await bench.step("rounds", Rounds, run)
