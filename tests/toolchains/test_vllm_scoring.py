"""A foreign server scored as a model's own weights are: vLLM's OpenAI server; run by `make test-toolchains` only."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from conftest import CACHE
from toolchains.benches import bench

from executors import toolchain
from executors.compress.compress import Effort, compress
from executors.host import probe
from executors.measure.gate import GateRule
from executors.measure.score import judge
from executors.measure.tasks import TOOLCHAIN, Bookshelf, compare, evaluate
from executors.serve.vllm import ENGINE
from executors.texts import Texts
from executors.worker import Workbench
from planners.catalog import accelerator_from_host
from planners.support import refusal
from schemas.measurement import QualityMeasurement, ServedModel
from schemas.plan import Strategy

pytestmark = [pytest.mark.real, pytest.mark.timeout(900), pytest.mark.usefixtures("nothing_left")]
RULE = GateRule(limit=0.0, min_blocks=32, max_tokens=1024)
ITEMS = 6


@asynccontextmanager
async def served(weights: Path, weight_format: str, log: Path) -> AsyncIterator[ServedModel]:
    """`weights` behind vLLM's own server."""
    strategy = Strategy(engine="vllm", weight_format=weight_format, accelerator="host", max_sequences=2)
    python = toolchain.find(ENGINE.toolchain, CACHE).python
    async with ENGINE.serve(strategy, weights, python=python, log=log) as endpoint:
        yield ServedModel(url=endpoint.url, model=endpoint.model)


async def quality(base: Path, candidate: Path | ServedModel, halves: Texts, tools: Workbench) -> QualityMeasurement:
    """What the gate measures of a candidate on the same tokens."""
    told = {"text": halves.evaluation, "rule": RULE, "cache": tools.log.parent / "scores", "bench": tools}
    return (await judge(base, candidate, **told, engine="transformers")).quality


async def test_a_foreign_server_scores_as_the_weights_do(folder: Path, halves: Texts, tmp_path: Path) -> None:
    """VLLM in bfloat16 and transformers in float32: the same text's perplexity, the same items of tasks by lm-eval."""
    tasks = Bookshelf(halves.evaluation, tmp_path).tasks(["wiki_next_sentence", "wiki_last_word"])
    harness = bench(TOOLCHAIN, tmp_path)
    own = await evaluate(folder, tasks, ITEMS, harness)
    async with served(folder, "FP16", tmp_path / "log") as model:
        found = await quality(folder, model, halves, bench("transformers", tmp_path))
        other = await evaluate(model, tasks, ITEMS, harness)
    assert found.tokens == RULE.max_tokens
    assert found.perplexity == pytest.approx(found.baseline_perplexity, rel=0.01)
    assert found.top1 > 0.95
    assert found.kl_is_bound
    assert found.kl == pytest.approx(0, abs=0.005)
    pairs = {(one.task, one.metric): one for one in compare(tasks, own, other)}
    likelihood = pairs["wiki_last_word", "loglikelihood"]
    assert (likelihood.items, likelihood.baseline < 0) == (ITEMS, True)
    assert likelihood.difference == pytest.approx(0, abs=0.1)
    assert pairs["wiki_next_sentence", "acc"].difference == pytest.approx(0, abs=1 / ITEMS)


async def test_a_smaller_form_is_served_as_it_was_judged(folder: Path, halves: Texts, tmp_path: Path) -> None:
    """GPTQ at 4 bits: vLLM's kernels and transformers lose the same on the same tokens, and the verdict is one."""
    said = refusal("vllm", "GPTQ-INT4", accelerator_from_host(await probe(tmp_path / "log-probe")))
    if said is not None:
        pytest.skip(said)  # no plan for this machine would have it either
    tools = bench("llmcompressor", tmp_path)
    effort = Effort(samples=4, tokens=64, steps=12)
    await compress("gptq-w4a16", folder, tmp_path / "gptq", calibration=halves.calibration, bench=tools, effort=effort)
    judged = await quality(folder, tmp_path / "gptq", halves, tools)
    async with served(tmp_path / "gptq", "GPTQ-INT4", tmp_path / "log") as model:
        found = await quality(folder, model, halves, bench("transformers", tmp_path))
    assert judged.loss > 0.05
    assert found.perplexity == pytest.approx(judged.perplexity, rel=0.03)
    assert found.baseline_perplexity == pytest.approx(judged.baseline_perplexity, rel=0.001)
