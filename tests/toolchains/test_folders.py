"""Folders made and judged by the heavy toolchains; run by `make test-toolchains` only, not by `make test`."""

import asyncio
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import CACHE
from execution.folders import write_model

from executors import toolchain
from executors.compress.compress import Effort, compress
from executors.compress.gguf import manifest
from executors.measure.gate import GateRule
from executors.measure.score import judge
from executors.texts import Texts
from executors.worker import Progress, Workbench
from schemas.error import AgentError, ErrorCode
from schemas.measurement import GateVerdict

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
TINY = Effort(samples=4, tokens=64, steps=12)


@pytest.fixture(scope="module")
def tools() -> toolchain.Toolchain:
    """The toolchain `transformers`, which must be there."""
    return toolchain.find("transformers", CACHE)


def left(folder: Path) -> set[str]:
    """What is in a folder besides the log."""
    return {path.name for path in folder.iterdir() if not path.name.startswith("log")}


def workers() -> list[psutil.Process]:
    """The processes that run a worker itself, not its guard."""
    children = psutil.Process().children(recursive=True)
    return [one for one in children if one.cmdline()[-1:] and "compress_" in one.cmdline()[-1] and not one.children()]


async def test_a_folder_says_what_its_gguf_says(
    folder: Path, base: Path, halves: Texts, tools: toolchain.Toolchain, bench: Workbench
) -> None:
    """Two readers, llama.cpp and transformers, give the same weights the same perplexity on the same tokens."""
    rule = GateRule(limit=0.0, min_blocks=16, max_tokens=512)
    told = {"text": halves.evaluation, "rule": rule, "cache": bench.log.parent / "scores"}
    gguf = await judge(base, base, **told, bench=bench)
    reader = Workbench(tools, 1, bench.log.with_name("log-folder"))
    other = await judge(folder, folder, **told, bench=reader, engine="transformers")
    assert other.verdict is GateVerdict.PASSED
    assert other.quality.kl == pytest.approx(0, abs=1e-6)
    assert other.quality.perplexity == pytest.approx(gguf.quality.perplexity, rel=0.005)
    assert manifest(folder).dequantised_from == "Q4_1"


async def test_another_tokenizer_is_nothing_to_compare(
    folder: Path, halves: Texts, tools: toolchain.Toolchain, tmp_path: Path
) -> None:
    """A candidate whose tokenizer splits the text otherwise is refused, not scored."""
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:20_000]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    bench = Workbench(tools, 1, tmp_path / "log")
    rule = GateRule(limit=0.02, max_tokens=512)
    with pytest.raises(AgentError, match="do not share a tokenizer") as caught:
        await judge(
            folder,
            other,
            text=halves.evaluation,
            rule=rule,
            cache=tmp_path / "scores",
            bench=bench,
            engine="transformers",
        )
    assert caught.value.code is ErrorCode.UNSUPPORTED


@pytest.mark.usefixtures("nothing_left")
async def test_a_cancelled_method_leaves_nothing(
    folder: Path, halves: Texts, tools: toolchain.Toolchain, tmp_path: Path
) -> None:
    """Cancelled in the middle of its steps: within five seconds no file, no process."""
    begun = asyncio.Event()
    bench = Workbench(tools, 1, tmp_path / "log", lambda _: begun.set())
    target = tmp_path / "out"
    task = asyncio.create_task(compress("bnb-nf4", folder, target, calibration=halves.calibration, bench=bench))
    await asyncio.wait_for(begun.wait(), 120)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert left(tmp_path) == set()


def write_wide(folder: Path, tokenizer: Path) -> Path:
    """A model of two layers with random weights whose widths are multiples of 128, and a real tokenizer."""
    hidden, inner, vocabulary, generator = 256, 512, 49_152, np.random.default_rng(7)
    shapes = {"model.embed_tokens": (vocabulary, hidden), "model.norm": (hidden,)}
    for layer in range(2):
        projections = dict.fromkeys(("self_attn.q_proj", "self_attn.o_proj"), (hidden, hidden))
        projections |= dict.fromkeys(("self_attn.k_proj", "self_attn.v_proj"), (hidden // 2, hidden))
        projections |= {
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
        projections |= dict.fromkeys(("input_layernorm", "post_attention_layernorm"), (hidden,))
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in projections.items()}
    tensors = {
        f"{name}.weight": (np.ones(shape) if len(shape) == 1 else generator.normal(0, 0.05, shape)).astype(np.float16)
        for name, shape in shapes.items()
    }
    sizes = {"hidden_size": hidden, "intermediate_size": inner, "vocab_size": vocabulary, "num_attention_heads": 4}
    write_model(folder, tensors, **sizes, num_key_value_heads=2, tie_word_embeddings=True, dtype="float16")
    for file in tokenizer.glob("tokenizer*.json"):
        shutil.copyfile(file, folder / file.name)
    return folder


async def test_groups_of_128_where_the_widths_allow_them(folder: Path, halves: Texts, tmp_path: Path) -> None:
    """Refused on the real model, whose width of 576 they do not divide; made and loaded on one of 256."""
    bench = Workbench(toolchain.find("gptqmodel", CACHE), 1, tmp_path / "log")
    told = {"calibration": halves.calibration, "bench": bench, "effort": TINY}
    with pytest.raises(AgentError, match=r"groups of 128.*the widest that does is 64") as caught:
        await compress("gptqmodel-4bit-g128", folder, tmp_path / "out", **told)
    assert caught.value.code is ErrorCode.UNSUPPORTED
    made = await compress("gptqmodel-4bit-g128", write_wide(tmp_path / "wide", folder), tmp_path / "out", **told)
    assert made.parameters == {"bits": 4, "group_size": 128}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]["group_size"] == 128


async def test_distillation_goes_on_where_it_was_killed(
    folder: Path, halves: Texts, tools: toolchain.Toolchain, tmp_path: Path
) -> None:
    """Killed after its first saved state, the next run goes on from there; the divergence falls."""
    seen: list[int] = []

    def hear(progress: Progress) -> None:
        seen.append(progress.done)
        if progress.done == 11:
            for process in workers():
                os.kill(process.pid, signal.SIGKILL)

    target = tmp_path / "out"
    with pytest.raises(AgentError, match="was killed"):
        await compress(
            "distill",
            folder,
            target,
            calibration=halves.calibration,
            bench=Workbench(tools, 1, tmp_path / "log", hear),
            effort=TINY,
        )
    assert left(tmp_path) == {".resume-out"}
    bench = Workbench(tools, 1, tmp_path / "log")
    made = await compress("distill", folder, target, calibration=halves.calibration, bench=bench, effort=TINY)
    assert made.parameters["resumed_at_step"] == 10
    assert float(made.parameters["kl_after"]) < float(made.parameters["kl_before"])
    assert len((target / "loss_curve.csv").read_text().splitlines()) == 1 + TINY.steps
    assert left(tmp_path) == {"out", "out.json"}
