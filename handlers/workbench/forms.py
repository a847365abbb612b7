"""A recipe or a method in, weights of that form out, whichever kind of file the engine wants."""

from executors.compress.gguf import Recipe
from executors.compress.methods import Method
from handlers.workbench.bench import Bench, Stage
from handlers.workbench.folders import CONVERSION, compress_folder, folder_base_of
from handlers.workbench.weights import Base, Made, compress


async def weights_for(bench: Bench, base: Base, how: Recipe | Method, stage: Stage) -> tuple[Base, Made | None]:
    """What a form is held against, and the form; None where it is that baseline itself.

    GGUF files are made from and judged against `base`, folders against the model's own folder.
    """
    if isinstance(how, Recipe):
        return base, await compress(bench, base, how, stage)
    folder = await folder_base_of(bench, stage)
    return folder, None if how.name == CONVERSION else await compress_folder(bench, folder, how, stage)
