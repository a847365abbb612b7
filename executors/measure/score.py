"""Judges a candidate: two models and a text in, the gate's decision out, over blocks that a worker streams.

Two GGUF files are scored by llama.cpp; a folder by the engine that loads it, against a baseline folder; a served model
by what its endpoint tells, against either.
"""

import asyncio
import hashlib
import os
import shutil
import time
from contextlib import aclosing
from pathlib import Path

from pydantic import PositiveInt

from executors.compress.gguf import manifest, manifest_of
from executors.files import describe_folder, digest, free_room
from executors.measure.gate import Block, GateRule, Look, decide
from executors.toolchain import Toolchain
from executors.worker import Progress, Workbench, Worker
from schemas.artifact import Text
from schemas.base import Record
from schemas.error import AgentError, ErrorCode
from schemas.measurement import GateDecision, ServedModel

LLAMA_CPP = "llama.cpp"
BASELINE_ENGINE = "transformers"
"""Loads the folder that a compressed folder is judged against."""
CONTEXT = 512
BLOCK = 32
KL_EVERY = 4
SEED = 20_240_521
"""Fixed, so that every candidate of every job meets the chunks of a text in the same order."""
VOCABULARY_BOUND = 262_144
KEEP_S = 7 * 86_400
"""Scores of a baseline that nobody asked for so long are deleted: a long judgement leaves hundreds of megabytes."""
CHUNKS_AT_HAND = 4
"""The cache must have room for this many chunks to begin with; it grows by one chunk at a time."""


class ScoreRequest(Record):
    """What `workers/llamacpp_score.py` and `workers/score.py` are asked; engines only matter to the latter."""

    baseline: Path
    candidate: Path | None
    endpoint: ServedModel | None
    """Where the candidate is served."""
    text: Path
    cache: Path
    n_ctx: PositiveInt = CONTEXT
    block: PositiveInt = BLOCK
    kl_every: PositiveInt = KL_EVERY
    seed: int = SEED
    max_chunks: PositiveInt
    threads: PositiveInt
    engine: str
    baseline_engine: str


async def judge(
    baseline: Path,
    candidate: Path | ServedModel,
    *,
    text: Text,
    rule: GateRule,
    cache: Path,
    bench: Workbench,
    engine: str = LLAMA_CPP,
    baseline_engine: str | None = None,
) -> GateDecision:
    """Score until the rule settles it or its bound of tokens is reached; the blocks are kept beside the log.

    `engine` is the one that loads a candidate that is not served already (`Method.engine`), in `bench`'s toolchain.
    `baseline_engine`, for folders, is transformers unless another is named.

    The baseline's scores are kept in `cache`, one folder for each baseline, text, toolchain and setting.

    Raises:
        AgentError: `unreadable_model`, `unsupported` (no shared tokenizer, too short a text), `disk_full`,
            `engine_failed` (a served candidate does not answer), `tool_failed`.
    """
    by = baseline_engine or (BASELINE_ENGINE if baseline.is_dir() else LLAMA_CPP)
    served = candidate if isinstance(candidate, ServedModel) else None
    request = ScoreRequest(
        baseline=baseline,
        candidate=candidate if isinstance(candidate, Path) else None,
        endpoint=served,
        text=text.path,
        cache=await asyncio.to_thread(_cache_folder, cache, baseline, text, by, bench.toolchain),
        max_chunks=max(1, rule.max_tokens // (CONTEXT // 2)),
        threads=bench.threads,
        engine=engine,
        baseline_engine=by,
    )
    script = "llamacpp_score" if by == LLAMA_CPP else "score"
    name = candidate.stem
    blocks: list[Block] = []
    look: Look | None = None
    with bench.log.with_suffix(".blocks.jsonl").open("w") as rows:
        async with Worker(bench, script, request, Block) as worker, aclosing(worker.answers()) as answers:
            async for block in answers:
                blocks.append(block)
                rows.write(block.model_dump_json() + "\n")
                look = decide(name, blocks, rule, text.label)
                tokens = sum(block.tokens for block in blocks)
                bench.on_progress(Progress(done=tokens, total=rule.max_tokens, detail="scored tokens"))
                if look is not None and look.settled:
                    return look.decision
    if look is None:
        seen, needed = len(blocks) * BLOCK, rule.min_blocks * BLOCK
        detail = (
            f"{text.name} and {rule.max_tokens} tokens are too little to judge with: {seen} scored, {needed} needed"
        )
        raise AgentError(ErrorCode.UNSUPPORTED, detail)
    return look.decision


def _digest(weights: Path) -> str:
    """The content's digest, from its manifest where it has one that fits: reading a large model takes long."""
    if weights.is_dir():
        size = sum(path.stat().st_size for path in weights.rglob("*") if path.is_file())
    else:
        size = weights.stat().st_size
    if manifest_of(weights).exists() and (made := manifest(weights).output).bytes == size:
        return made.sha256
    return describe_folder(weights)[0].sha256 if weights.is_dir() else digest(weights)


def _cache_folder(cache: Path, baseline: Path, text: Text, engine: str, toolchain: Toolchain) -> Path:
    """The folder for this baseline's scores, made, with room in it."""
    packages = toolchain.stamp.packages if toolchain.stamp else ()
    parts = (_digest(baseline), text.sha256, engine, *packages, CONTEXT, BLOCK, KL_EVERY)
    folder = cache / hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    for other in cache.iterdir():
        if time.time() - other.stat().st_mtime > KEEP_S:
            shutil.rmtree(other)
    free_room(folder, CHUNKS_AT_HAND * CONTEXT // 2 // KL_EVERY * VOCABULARY_BOUND * 2, "scores of the baseline")
    return folder
