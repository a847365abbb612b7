"""A recipe or a method in, weights of that form and what they lost out, whichever kind of file the engine wants."""

from dataclasses import dataclass

from executors.compress.gguf import Recipe
from executors.compress.methods import CONVERSION, Method
from executors.measure.score import CONTEXT
from executors.serve.registry import engine
from handlers.workbench.bench import Bench, Stage
from handlers.workbench.engines import serving
from handlers.workbench.folders import compress_folder, folder_base_of
from handlers.workbench.weights import Base, Weights, compress, judged
from schemas.artifact import Artifact
from schemas.measurement import GateDecision, ServedModel
from schemas.plan import Strategy


@dataclass(frozen=True)
class Built:
    """Weights to be served, what they are held against, and how this job made them."""

    against: Base
    weights: Weights
    artifact: Artifact | None

    @property
    def untouched(self) -> bool:
        """Whether they are the baseline itself."""
        return self.weights.path == self.against.path


async def build(bench: Bench, base: Base, how: Recipe | Method, stage: Stage) -> Built:
    """One form; GGUF files are made from and judged against `base`, folders against the model's own folder."""
    if isinstance(how, Recipe):
        made = await compress(bench, base, how, stage)
        return Built(base, made.weights, made.artifact)
    folder = await folder_base_of(bench, stage)
    if how.name == CONVERSION:
        return Built(folder, Weights(folder.path, how.engine, folder.tools), folder.artifact)
    made = await compress_folder(bench, folder, how, stage)
    return Built(folder, made.weights, made.artifact)


async def gate_of(bench: Bench, built: Built, strategy: Strategy, limit: float, stage: Stage) -> GateDecision | None:
    """The gate's decision on a form; None for the baseline itself, unless the engine computes it in its own way."""
    if not engine(strategy.engine).judged_as_served:
        return None if built.untouched else await judged(bench, built.against, built.weights, limit, stage)
    path, alone = built.weights.path, strategy.model_copy(update={"context": 2 * CONTEXT, "max_sequences": 1})
    async with serving(bench, alone, path, f"judge-{path.stem}") as endpoint:
        served = ServedModel(url=endpoint.url, model=endpoint.model)
        return await judged(bench, built.against, served, limit, stage)
