"""What a method made, served for real: an artifact in; engines' words and the gate's figure through an endpoint out.

Every engine of `executors/serve` that takes such a file or folder, and that the planner has on this machine, is started
with the artifact as jobs start it. Words are held against the untouched model: the nats per token that it gives to
them. An engine that tells a prompt's log-probabilities is scored through its endpoint, as any served model is.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import aiohttp

from benchmarks.method_row import Said, Served
from executors import toolchain
from executors.compress.gguf import PROMPT, SAMPLE_TOKENS
from executors.compress.methods import Method
from executors.measure.gate import Block, GateRule
from executors.measure.score import judge
from executors.serve.engine import Endpoint, Engine
from executors.serve.registry import ENGINES
from executors.worker import Workbench
from planners.support import rules
from schemas.artifact import Text
from schemas.error import AgentError, ErrorCode
from schemas.hardware import Accelerator
from schemas.measurement import ServedModel
from schemas.plan import Strategy

TELLS = frozenset({"vllm"})
"""Engines whose completions echo a prompt with its log-probabilities."""
RULE = GateRule(limit=0.02, min_blocks=16, max_tokens=512)
"""Enough to see that what is served is what was judged."""
CONTEXT = 1024
REASON = re.compile(r"Val(?:ueError:|ue error,) (.+)")
"""Where an engine's log says why it does not load weights, long before its last lines."""
ANSWER_S = 120


@dataclass(frozen=True)
class Stand:
    """Where artifacts are served: on `here`, beside the untouched model as a folder and as it is served for scoring."""

    here: Accelerator
    cache: Path
    text: Text
    folder: Path
    untouched: ServedModel

    async def hear(self, words: str) -> Said:
        """Words after the prompt, and the nats per token that the untouched model gives to them."""
        begun, whole = [
            (await _ask(f"{self.untouched.url}/tokenize", {"prompt": text}))["tokens"]
            for text in (PROMPT, f"{PROMPT} {words.strip()}")
        ]
        if len(whole) <= len(begun):
            return Said(words=words, nats=None)
        body = {"prompt": whole, "max_tokens": 0, "echo": True, "logprobs": 1}
        (choice,) = (await _ask(f"{self.untouched.url}/v1/completions", body))["choices"]
        return Said(words=words, nats=-fmean(choice["logprobs"]["token_logprobs"][len(begun) :]))

    async def serve(self, chosen: Method, weights: Path, blocks: Sequence[Block], log: Path) -> tuple[Served, ...]:
        """What each engine makes of `weights`, beside the blocks that they were judged by."""
        judged = _loss(blocks[: RULE.min_blocks])
        found = [await self._serve(one, chosen, weights, log) for one in self._engines(weights)]
        return tuple(one if one.loss is None else one.model_copy(update={"judged": judged}) for one in found)

    def _engines(self, weights: Path) -> list[Engine]:
        planned = {rule.engine for rule in rules() if rule.runs_on(self.here)}
        return [one for one in ENGINES.values() if one.name in planned and one.holds(weights)]

    async def _serve(self, engine: Engine, chosen: Method, weights: Path, log: Path) -> Served:
        strategy = Strategy(
            engine=engine.name,
            weight_format=chosen.weight_format,
            accelerator=self.here.key,
            max_sequences=2,
            context=CONTEXT,
        )
        found = Served(engine=engine.name, claimed=engine.loads == chosen.engine or engine.name in chosen.served)
        python = toolchain.find(engine.toolchain, self.cache).python
        log.unlink(missing_ok=True)
        try:
            async with engine.serve(strategy, weights, python=python, log=log) as endpoint:
                heard = await self.hear(await _words(endpoint))
                loss = await self._scored(endpoint, log) if engine.name in TELLS else None
        except AgentError as error:
            why = REASON.search(log.read_text(encoding="utf-8", errors="replace"))
            return found.model_copy(update={"refusal": why.group(1).strip() if why else error.detail})
        return found.model_copy(update={"said": heard, "loss": loss})

    async def _scored(self, endpoint: Endpoint, log: Path) -> float:
        bench = Workbench(toolchain.find("transformers", self.cache), 1, log.with_suffix(".score.log"))
        served = ServedModel(url=endpoint.url, model=endpoint.model)
        told = {"text": self.text, "rule": RULE, "cache": self.cache / "scores", "bench": bench}
        await judge(self.folder, served, **told)
        return _loss(read_blocks(bench))


def read_blocks(bench: Workbench) -> list[Block]:
    """What the last judgement on a bench scored, in the order that every judgement of a text has."""
    lines = bench.log.with_suffix(".blocks.jsonl").read_bytes().splitlines()
    return [Block.model_validate_json(line) for line in lines]


def _loss(blocks: Sequence[Block]) -> float:
    """Relative rise of perplexity."""
    gap = sum(block.nll_candidate - block.nll_baseline for block in blocks)
    return math.expm1(gap / sum(block.tokens for block in blocks))


async def _words(endpoint: Endpoint) -> str:
    body = {"model": endpoint.model, "prompt": PROMPT, "max_tokens": SAMPLE_TOKENS, "temperature": 0}
    (choice,) = (await _ask(f"{endpoint.url}/v1/completions", body))["choices"]
    return str(choice["text"])


async def _ask(url: str, body: dict[str, object]) -> dict[str, list]:
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ANSWER_S), raise_for_status=True) as session:
            return dict(await (await session.post(url, json=body)).json())
    except (aiohttp.ClientError, TimeoutError) as error:
        raise AgentError(ErrorCode.ENGINE_FAILED, f"{url} does not answer: {error}") from error
