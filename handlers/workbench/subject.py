"""What BENCHMARK_INFERENCE names in, the weights and the engine that serves them out."""

from dataclasses import dataclass
from pathlib import Path

from executors.compress.gguf import Recipe, format_of, manifest
from executors.compress.gguf_header import read_header
from executors.compress.methods import GGUF_ENGINE, Method, method
from executors.serve.engine import Engine
from handlers.services import Services
from handlers.workbench.bench import Bench, Stage
from handlers.workbench.engines import engine_loading, engine_named, form_for, strategy_for
from handlers.workbench.folders import folder_of, required
from handlers.workbench.forms import build
from handlers.workbench.prepare import find, find_any
from handlers.workbench.weights import Base
from schemas.command import ModelCommand
from schemas.error import AgentError, ErrorCode
from schemas.plan import Strategy
from schemas.request import BenchmarkInference


@dataclass(frozen=True)
class Subject:
    """`source` is what a plan reads; `made` are weights that are there, else `how` makes them."""

    source: Path
    engine: Engine
    how: Method | Recipe
    made: Path | None = None

    def strategy(self, served: Strategy) -> Strategy:
        """`served` with this engine and these weights."""
        return strategy_for(served, self.engine, self.how)

    async def weights(self, bench: Bench, stage: Stage) -> Path:
        """The weights, made in the job's directory where they are not there yet."""
        if self.made:
            return self.made
        return (await build(bench, Base(self.source, ""), self.how, stage)).weights.path


def subject_of(command: BenchmarkInference, services: Services) -> Subject:
    """A folder or a file that a job made, or a model at hand; for another engine than llama.cpp in its first form.

    Raises:
        AgentError: `unknown_model`, `unreadable_model`, `unsupported` for weights that the engine does not load,
            `not_available`, `toolchain_missing`.
    """
    workshop = services.workshop
    named = engine_named(command.engine, workshop) if command.engine else None
    folder = folder_of(services, command.job, command.model) if command.job else None
    if folder and command.job:
        how = method(manifest(folder.path).method)
        chosen = named or engine_loading(how, workshop)
        if chosen.loads not in how.here:
            detail = f"{chosen.name} does not load what {how.name} makes here; these do: {', '.join(how.here)}"
            raise AgentError(ErrorCode.UNSUPPORTED, detail)
        return Subject(_model_of(command.job, services), chosen, how, folder.path)
    source = find(command.model, services, command.job)
    chosen = named or engine_named(GGUF_ENGINE, workshop)
    if chosen.name == GGUF_ENGINE:
        return Subject(source, chosen, Recipe(format_of(read_header(source)), importance_matrix=False), source)
    form = form_for(chosen)
    if isinstance(form, Method):
        required(form, workshop)
    return Subject(source, chosen, form)


def _model_of(job: str, services: Services) -> Path:
    """What the job was about, by its own command."""
    kept = (services.runs_dir / job / "command.json").read_bytes()
    return find_any(ModelCommand.model_validate_json(kept).model, services)
