"""A model's weights on the workbench: its F16 form, smaller forms of it, and what each of them lost."""

import asyncio
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from executors.compress.gguf import MIXED, PLAIN, Recipe, compute_importance, manifest, manifest_of, quantize
from executors.measure.gate import GateRule
from executors.measure.score import LLAMA_CPP, judge
from executors.toolchain import Toolchain
from handlers.workbench.bench import Bench, Stage
from schemas.artifact import Artifact
from schemas.measurement import GateDecision, ServedModel
from schemas.plan import StepKind

BASE = "F16"


@dataclass(frozen=True)
class Base:
    """The 16-bit weights that every smaller form is made from and held against."""

    path: Path
    source_format: str
    """What they were made from: a quantized source has lost something already."""
    tools: Toolchain | None = None
    """Where they are loaded, if that is not the bench's own toolchain."""
    engine: str = LLAMA_CPP
    artifact: Artifact | None = None
    """How this job made them, where it did."""

    @property
    def note(self) -> str:
        """What a reader of figures against this baseline must know."""
        source = self.source_format
        if source in PLAIN:
            return f"The baseline holds what the model's {source} weights hold."
        return (
            f"The 16-bit baseline is the shipped {source} weights dequantised: what their own quantization lost is not "
            f"in these figures. {source} itself was left out of the candidates, since it would look free; other "
            "formats whose blocks can hold its values look better here than on weights that never were quantized."
        )


async def base_of(bench: Bench, stage: Stage) -> Base:
    """The F16 form of the bench's model, in the job's directory."""
    path = bench.job.directory / f"{BASE}.gguf"

    async def write() -> Artifact:
        async with bench.tool(StepKind.BASELINE, stage, "base") as tool:
            return await quantize(bench.source, BASE, path, importance=None, bench=tool)

    artifact = await bench.step("base", Artifact, write)
    return Base(path, artifact.source_format, artifact=artifact)


@dataclass(frozen=True)
class Weights:
    """A form of a model, with what is needed to judge it: the engine that loads it and the toolchain that has it."""

    path: Path
    engine: str = LLAMA_CPP
    tools: Toolchain | None = None
    """Where that is not the bench's own."""


@dataclass(frozen=True)
class Made:
    """A form that this job made, and how."""

    weights: Weights
    artifact: Artifact


async def compress(bench: Bench, base: Base, recipe: Recipe, stage: Stage) -> Made:
    """A smaller GGUF form, in the job's directory."""
    path = bench.job.directory / f"{recipe.stem}.gguf"

    async def write() -> Artifact:
        importance = await _importance(bench, base, stage) if recipe.importance_matrix else None
        async with bench.tool(StepKind.OPTIMIZATION, stage, f"compress-{recipe.stem}") as tool:
            return await quantize(
                base.path,
                recipe.weight_format,
                path,
                importance=importance,
                bench=tool,
                overrides=MIXED if recipe.mixed else {},
            )

    await bench.say(StepKind.OPTIMIZATION, stage, f"making {path.name} from {base.path.name}")
    return Made(Weights(path), await bench.step(f"compress-{recipe.stem}", Artifact, write))


async def judged(
    bench: Bench, base: Base, candidate: Weights | ServedModel, limit: float, stage: Stage
) -> GateDecision:
    """The gate's decision on a candidate against the baseline, at a relative loss of `limit`."""
    rule = GateRule(limit=limit, max_tokens=bench.workshop.effort.judge_tokens)
    cache, text = bench.workshop.cache / "scores", bench.texts.evaluation
    by = base if isinstance(candidate, ServedModel) else candidate
    scored = candidate if isinstance(candidate, ServedModel) else candidate.path
    name = scored.stem

    async def score() -> GateDecision:
        async with bench.tool(StepKind.VALIDATION, stage, f"judge-{name}", by.tools) as tool:
            return await judge(base.path, scored, text=text, rule=rule, cache=cache, bench=tool, engine=by.engine)

    await bench.say(StepKind.VALIDATION, stage, "judging quality against the baseline")
    gate = await bench.step(f"judge-{name}", GateDecision, score)
    await bench.say(StepKind.VALIDATION, stage, gate.sentence, gate=gate)
    return gate


async def _importance(bench: Bench, base: Base, stage: Stage) -> Path:
    """The importance matrix, in the job's directory."""
    path = bench.job.directory / "importance.npz"
    await bench.step("importance", Artifact, lambda: _provide_importance(bench, base, stage, path))
    return path


async def _provide_importance(bench: Bench, base: Base, stage: Stage, path: Path) -> Artifact:
    """Computed once for the same weights, text, length and tools; other jobs copy it from the cache."""
    text, tokens = bench.texts.calibration, bench.workshop.effort.importance_tokens
    made = manifest(base.path)
    parts = (made.output.sha256, text.sha256, tokens, *made.tools)
    kept = bench.workshop.cache / "importance" / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}.npz"
    if not manifest_of(kept).exists():
        async with bench.tool(StepKind.OPTIMIZATION, stage, "importance") as tool:
            await compute_importance(base.path, kept, text=text, tokens=tokens, bench=tool)
    for source, target in ((kept, path), (manifest_of(kept), manifest_of(path))):
        await asyncio.to_thread(shutil.copyfile, source, target)
    return manifest(path)
