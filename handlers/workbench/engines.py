"""Engines on the workbench: names as messages write them in; engines that are ready here, and their endpoints, out."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from executors import toolchain
from executors.compress.gguf import Recipe, recipe
from executors.compress.methods import CONVERSION, GGUF_ENGINE, Form, Method, method, methods
from executors.serve.engine import Endpoint, Engine
from executors.serve.registry import ENGINES, engine
from handlers.workbench.bench import Bench
from handlers.workbench.weights import BASE
from handlers.workshop import Workshop
from planners.catalog import accelerator_from_host
from planners.support import alike, refusal, wanted_engines
from schemas.error import AgentError, ErrorCode
from schemas.plan import Strategy
from schemas.report import ConsideredEngine


def engine_named(name: str, workshop: Workshop) -> Engine:
    """The engine that a message calls `name`, with its toolchain installed.

    Raises:
        AgentError: `unsupported` for a name that is no engine's, `not_available` for one that is not run here,
            `toolchain_missing` with the command that installs it.
    """
    (known, *_), _ = wanted_engines((name,), host=True)
    found = engine(known)
    toolchain.find(found.toolchain, workshop.cache)
    return found


def engine_loading(how: Method, workshop: Workshop) -> Engine:
    """The first engine that is ready here and loads what `how` makes.

    Raises:
        AgentError: `not_available`, naming those that would.
    """
    able = [one for one in ENGINES.values() if one.loads in how.here]
    for one in able:
        if toolchain.installed(one.toolchain, workshop.cache):
            return one
    would = ", ".join(one.name for one in able) or "none"
    detail = f"no installed engine serves what {how.name} makes; engines that would: {would}"
    raise AgentError(ErrorCode.NOT_AVAILABLE, detail)


def servable(workshop: Workshop) -> frozenset[tuple[str, str]]:
    """Engine and weight format of everything that can be made and served with the toolchains that are installed.

    llama.cpp is taken for granted: no job begins without it.
    """
    ready = toolchain.ready(workshop.cache) | {engine(GGUF_ENGINE).toolchain}
    return frozenset(
        (one.name, how.weight_format) for one in ENGINES.values() for how in _ways(one) if _needed(one, how) <= ready
    )


def considered(names: Sequence[str], workshop: Workshop) -> tuple[ConsideredEngine, ...]:
    """Every engine that runs on this kind of machine and is among `names`, all where there are none, with its place."""
    ready = toolchain.ready(workshop.cache)
    wanted, _ = wanted_engines(names, host=True, ready=ENGINES)
    return tuple(
        ConsideredEngine(engine=one.name, missing=min((_missing(one, how, ready) for how in _ways(one)), key=len))
        for one in ENGINES.values()
        if one.name in wanted
    )


def _ways(one: Engine) -> Iterator[Method]:
    """What makes weights that an engine loads."""
    return (how for how in methods().values() if one.loads in how.here)


def _missing(one: Engine, how: Method, ready: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(_needed(one, how) - ready))


def _needed(one: Engine, how: Method) -> frozenset[str]:
    """The toolchains of the engine, of the method and, for folders, of what turns the model's file into one."""
    folder = [CONVERSION] if how.output is Form.FOLDER else []
    return frozenset((one.toolchain, how.toolchain, *(method(name).toolchain for name in folder)))


def serving(bench: Bench, strategy: Strategy, weights: Path, name: str) -> AbstractAsyncContextManager[Endpoint]:
    """`weights` served as `strategy` says; the log is called after `name`.

    Raises:
        AgentError: as `Engine.serve`; `not_available` and `toolchain_missing` as `engine_named`.
    """
    chosen = engine(strategy.engine)
    return chosen.serve(
        strategy,
        weights,
        python=toolchain.find(chosen.toolchain, bench.workshop.cache).python,
        log=bench.log(f"serve-{name}"),
        limits=bench.workshop.limits,
        refusal=refusal(strategy.engine, strategy.weight_format, accelerator_from_host(bench.host)),
    )


def form_for(chosen: Engine, weight_format: str | None = None, ready: frozenset[str] | None = None) -> Recipe | Method:
    """How weights are made that `chosen` loads, by format or by method; the first there is where neither is named.

    With `ready`, only by those toolchains.

    Raises:
        AgentError: `unsupported`, with the names of those that there are.
    """
    if chosen.name == GGUF_ENGINE:
        return recipe(weight_format or BASE)
    made = [one for one in _ways(chosen) if one.output is Form.FOLDER]
    for one in made if ready is None else [one for one in made if _needed(chosen, one) <= ready]:
        if weight_format is None or _means(weight_format, one):
            return one
    there = ", ".join(one.name for one in made)
    raise AgentError(ErrorCode.UNSUPPORTED, f"nothing here makes {weight_format} for {chosen.name}; there are {there}")


def how_to_make(strategy: Strategy, workshop: Workshop) -> Recipe | Method:
    """How the weights of a planned strategy are made with what is installed.

    Raises:
        AgentError: as `form_for`.
    """
    if strategy.engine == GGUF_ENGINE:
        return Recipe(strategy.weight_format, strategy.importance_matrix)
    return form_for(engine(strategy.engine), strategy.weight_format, toolchain.ready(workshop.cache))


def strategy_for(served: Strategy, chosen: Engine, how: Recipe | Method) -> Strategy:
    """`served` with another engine and other weights; what only some engines offer is left out."""
    return served.model_copy(
        update={
            "engine": chosen.name,
            "weight_format": how.weight_format,
            "importance_matrix": isinstance(how, Recipe) and how.importance_matrix,
            "kv_format": served.kv_format if served.kv_format in chosen.kv_types else "FP16",
        }
    )


def contender(name: str, workshop: Workshop) -> tuple[Engine, Recipe | Method]:
    """`Q8_0`, `llama.cpp Q8_0`, `openvino INT8` or `vllm gptq-w4a16`: the engine, and how its weights are made.

    Raises:
        AgentError: as `engine_named` and `form_for`.
    """
    called, _, form = name.strip().rpartition(" ")
    chosen = engine_named(called or GGUF_ENGINE, workshop)
    found = form_for(chosen, form)
    if isinstance(found, Method):
        toolchain.find(found.toolchain, workshop.cache)
    return chosen, found


def _means(name: str, one: Method) -> bool:
    plain = name.strip()
    return plain.casefold() == one.name or alike(plain.upper(), one.weight_format)
