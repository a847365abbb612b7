"""Runs methods of `executors/compress` on the real model and prints a table: seconds, size, losses, verdict, words.

Usage: methods.py [--write] [NAME ...]. Each method makes its artifact with small settings, its engine loads it and
writes a few words, and the quality gate judges it against the float16 form that the shipped weights were dequantised
to. Rows are kept, so that a run that was ended goes on; a row is made again when it is named. `--write` puts the table
into docs/methods.md. The exit status is 1 where a method failed, wrote no words, or the gate told nothing apart.
"""

import asyncio
import datetime as dt
import os
import platform
import shutil
import sys
import time
from pathlib import Path

from pydantic import ValidationError

from executors import texts, toolchain
from executors.compress.compress import Effort, compress
from executors.compress.gguf import quantize
from executors.compress.methods import Form, Method, methods
from executors.measure.gate import GateRule
from executors.measure.score import judge
from executors.texts import Texts
from executors.worker import Workbench
from schemas.artifact import Artifact
from schemas.base import Record
from schemas.error import AgentError
from schemas.measurement import GateDecision, GateVerdict

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "methods.md"
MARK = "<!-- table -->"
CACHE = Path(os.environ.get("INFERWRIGHT_CACHE", "~/.cache/inferwright")).expanduser()
WORK = CACHE / "methods"
GGUF = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K", "IQ4_NL")
BASES = ("safetensors",)
RULE = GateRule(limit=0.02, max_tokens=8192)
EFFORT = Effort(samples=16, tokens=256, steps=60)
FEW_WORDS = 3


class Row(Record):
    """One method's line, and what its artifact and the gate said."""

    artifact: Artifact
    decision: GateDecision
    judged_s: float

    def __str__(self) -> str:
        made, quality = self.artifact, self.decision.quality
        cells = (
            f"`{made.method if made.method != 'gguf' else made.weight_format}`",
            f"{made.seconds:.0f}",
            f"{made.output.bytes / 1e6:.0f}",
            f"{made.peak_bytes / 1e6:,.0f}" if made.peak_bytes else "-",
            f"{quality.perplexity / quality.baseline_perplexity - 1:+.1%}",
            f"{quality.loss_low:+.1%} to {quality.loss_high:+.1%}",
            f"{quality.kl:.4f}",
            f"{quality.top1:.3f}",
            f"{quality.tokens:,}",
            self.decision.verdict.value,
            made.engine or "llama.cpp",
            " ".join(made.sample.split())[:60].replace("|", "/"),
        )
        return "| " + " | ".join(cells) + " |"


COLUMNS = ("method", "tool s", "MB", "peak MB", "perplexity", "95 % interval", "KL", "top-1", "tokens", "at 2 %")
COLUMNS += ("engine", "its words")
HEAD = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def bench_of(name: str, log: str) -> Workbench:
    """One thread in a toolchain, with a log of its own."""
    return Workbench(toolchain.find(name, CACHE), 1, WORK / f"{log}.log")


async def baseline(halves: Texts) -> None:
    """The two forms that candidates are judged against: a folder and a GGUF, both in float16."""
    (shipped,) = toolchain.find("smollm2", CACHE).files
    if not (WORK / "F16.gguf.json").exists():
        await quantize(shipped, "F16", WORK / "F16.gguf", importance=None, bench=bench_of("llamacpp", "F16"))
    if not (WORK / "safetensors.json").exists():
        bench = bench_of("transformers", "safetensors")
        await compress("safetensors", shipped, WORK / "safetensors", calibration=halves.calibration, bench=bench)


async def run(method: Method, halves: Texts) -> Row:
    """Make, load, judge."""
    whole = method.output is Form.GGUF
    base = WORK / ("F16.gguf" if whole else "safetensors")
    target = WORK / (f"{method.name}.gguf" if whole else method.name)
    bench = bench_of(method.toolchain, method.name)
    made = await compress(method.name, base, target, calibration=halves.calibration, bench=bench, effort=EFFORT)
    start = time.monotonic()
    decision = await judge(
        base, target, text=halves.evaluation, rule=RULE, cache=CACHE / "scores", bench=bench, engine=method.engine
    )
    return Row(artifact=made, decision=decision, judged_s=time.monotonic() - start)


def kept(name: str) -> Row | None:
    """The row of an earlier run."""
    try:
        return Row.model_validate_json((WORK / f"{name}.row.json").read_bytes())
    except (OSError, ValidationError):
        return None


def machine() -> str:
    """What this ran on, as the kernel says."""
    facts = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = next((line.partition(":")[2].strip() for line in facts.splitlines() if "model name" in line), "")
    wide = next((name for name in ("avx512_vnni", "avx512f", "avx2") if f" {name} " in facts), "no AVX")
    return f"{platform.machine()}, {model or 'unknown'}, {os.cpu_count()} cores, {wide}, no GPU used, one engine thread"


def write(rows: list[Row]) -> None:
    """Put the table into the page, below its mark."""
    text = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    today = dt.datetime.now(tz=dt.UTC).date()
    table = "\n".join(map(str, rows))
    PAGE.write_text(f"{text}{MARK}\n\nMeasured {today} on {machine()}.\n\n{HEAD}\n{table}\n", encoding="utf-8")


async def main() -> int:
    """Run what is asked for, print the table."""
    named = [word for word in sys.argv[1:] if not word.startswith("-")]
    known = methods()
    wanted = named or [*(name for name, one in known.items() if one.output is Form.FOLDER and name not in BASES), *GGUF]
    WORK.mkdir(parents=True, exist_ok=True)
    halves = texts.find(CACHE)
    await baseline(halves)
    rows, failures = [], []
    print(HEAD)
    for name in wanted:
        row = None if named else kept(name)
        try:
            row = row or await run(known[name], halves)
        except AgentError as error:
            failures.append(f"{name}: {error.detail}")
            continue
        (WORK / f"{name}.row.json").write_text(row.model_dump_json(indent=1), encoding="utf-8")
        shutil.rmtree(WORK / name, ignore_errors=True)
        (WORK / f"{name}.gguf").unlink(missing_ok=True)
        print(row, flush=True)
        rows.append(row)
        if len(row.artifact.sample.split()) < FEW_WORDS:
            failures.append(f"{name}: wrote hardly a word: {row.artifact.sample!r}")
    verdicts = [row.decision.verdict for row in rows]
    if not named and min(verdicts.count(GateVerdict.PASSED), verdicts.count(GateVerdict.FAILED)) < 2:
        failures.append(f"the gate told too little apart: {', '.join(verdicts)}")
    if "--write" in sys.argv:
        write(rows)
    print(f"{len(rows)} passed, {len(failures)} failed")
    print("\n".join(failures))
    return bool(failures)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
