"""Runs methods of `executors/compress` on the real model and prints a table: seconds, size, losses, verdict, words.

Usage: methods.py [--quick] [--jobs N] [--write] [NAME ...]. Each method makes its artifact, its engine loads it and
writes a few words, and the quality gate judges it against the float16 form that the shipped weights were dequantised
to; each row says with which settings. `--quick` is what CI runs: short calibration, few steps, an early gate.
`--jobs` run beside each other, one engine thread each. A row is kept and used again only while code, pins, texts and
settings are the same; it is made again when it is named. `--write` puts rows into docs/methods.md, each with its date.
The exit status is 1 where a method failed, wrote no words, or the gate judged one of `MUST` otherwise.
"""

import argparse
import asyncio
import datetime as dt
import hashlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from executors import texts, toolchain
from executors.compress.compress import Effort, compress
from executors.compress.gguf import MIXED, PROMPT, compute_importance, quantize, recipe
from executors.compress.methods import Form, Method, method, methods
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
MARK, QUICK_MARK = "<!-- table -->", "<!-- quick table -->"
CACHE = Path(os.environ.get("INFERWRIGHT_CACHE", "~/.cache/inferwright")).expanduser()
WORK = CACHE / "methods"
GGUF = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q4_0+imatrix", "Q4_0+mix", "Q3_K_M", "Q2_K", "IQ4_NL")
GROUPS = ("gptqmodel-4bit-g32", "gptqmodel-8bit-g32", "openvino-int4-g32")
BASES = ("safetensors",)
CODE = ("executors/compress", "executors/measure", "executors/workers", "executors/texts.py")
"""What a kept row depends on besides its toolchain and settings."""
IMPORTANCE_TOKENS = 2048
FEW_WORDS = 3
MUST = {
    "Q8_0": GateVerdict.PASSED,
    "gptqmodel-8bit": GateVerdict.PASSED,
    "Q2_K": GateVerdict.FAILED,
    "sparse-2-4": GateVerdict.FAILED,
}
"""What a gate of 2 % has to say of methods that are clear cases."""


class Settings(NamedTuple):
    """How much a run spends on a method."""

    effort: Effort
    rule: GateRule

    def __str__(self) -> str:
        effort, rule = self.effort, self.rule
        return f"{effort.samples}x{effort.tokens}, {effort.steps} steps, gate {rule.max_tokens:,}"


FULL = Settings(Effort(samples=16, tokens=256, steps=60), GateRule(limit=0.02, max_tokens=8192))
QUICK = Settings(Effort(samples=8, tokens=128, steps=12), GateRule(limit=0.02, max_tokens=1536))
SLOW = {"awq-w4a16": 3, "autoround-w4a16": 4}
"""Steps of a quick run of methods whose every step costs many seconds."""


class Row(Record):
    """One method's line: what its artifact and the gate said, when, and with which settings."""

    name: str
    key: str
    date: str
    settings: str
    artifact: Artifact
    decision: GateDecision
    judged_s: float

    def __str__(self) -> str:
        made, quality = self.artifact, self.decision.quality
        cells = (
            f"`{self.name}`",
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
            self.settings,
            self.date,
        )
        return "| " + " | ".join(cells) + " |"


COLUMNS = ("method", "tool s", "MB", "peak MB", "perplexity", "95 % interval", "KL", "top-1", "tokens", "at 2 %")
COLUMNS += ("engine", "its words", "settings", "date")
HEAD = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def bench_of(name: str, log: str) -> Workbench:
    """One thread in a toolchain, with a log of its own."""
    return Workbench(toolchain.find(name, CACHE), 1, WORK / f"{log}.log")


async def baseline(halves: Texts) -> None:
    """The two forms that candidates are judged against, a folder and a GGUF, both in float16; an importance matrix."""
    (shipped,) = toolchain.find("smollm2", CACHE).files
    if not (WORK / "F16.gguf.json").exists():
        await quantize(shipped, "F16", WORK / "F16.gguf", importance=None, bench=bench_of("llamacpp", "F16"))
    if not (WORK / "importance.npz.json").exists():
        bench = bench_of("llamacpp", "importance")
        told = {"text": halves.calibration, "tokens": IMPORTANCE_TOKENS, "bench": bench}
        await compute_importance(WORK / "F16.gguf", WORK / "importance.npz", **told)
    if not (WORK / "safetensors.json").exists():
        bench = bench_of("transformers", "safetensors")
        await compress("safetensors", shipped, WORK / "safetensors", calibration=halves.calibration, bench=bench)


def chosen_of(name: str) -> Method:
    """The method behind a name of the table."""
    return method(recipe(name).weight_format if "+" in name else name)


async def make(name: str, target: Path, halves: Texts, effort: Effort, bench: Workbench) -> Artifact:
    """The artifact of one method."""
    if chosen_of(name).output is Form.GGUF:
        wanted = recipe(name)
        matrix = WORK / "importance.npz" if wanted.importance_matrix else None
        types = MIXED if wanted.mixed else {}
        source = WORK / "F16.gguf"
        return await quantize(source, wanted.weight_format, target, importance=matrix, bench=bench, overrides=types)
    return await compress(
        name, WORK / "safetensors", target, calibration=halves.calibration, bench=bench, effort=effort
    )


async def run(name: str, halves: Texts, settings: Settings) -> Row:
    """Make, load, judge; what was made is deleted again."""
    chosen = chosen_of(name)
    whole = chosen.output is Form.GGUF
    target = WORK / (f"{name}.gguf" if whole else name)
    bench = bench_of(chosen.toolchain, name)
    made = await make(name, target, halves, settings.effort, bench)
    start = time.monotonic()
    decision = await judge(
        WORK / ("F16.gguf" if whole else "safetensors"),
        target,
        text=halves.evaluation,
        rule=settings.rule,
        cache=CACHE / "scores",
        bench=bench,
        engine=chosen.engine,
    )
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    return Row(
        name=name,
        key=key_of(name, halves, settings),
        date=str(dt.datetime.now(tz=dt.UTC).date()),
        settings=str(settings),
        artifact=made,
        decision=decision,
        judged_s=time.monotonic() - start,
    )


def key_of(name: str, halves: Texts, settings: Settings) -> str:
    """What a row depends on, as one digest."""
    seen = hashlib.sha256(repr((name, settings, halves.calibration.sha256, halves.evaluation.sha256)).encode())
    made = toolchain.find(chosen_of(name).toolchain, CACHE).stamp
    seen.update(repr((made and made.digest, PROMPT, IMPORTANCE_TOKENS)).encode())
    for part in CODE:
        path = ROOT / part
        for file in sorted(path.rglob("*.*")) if path.is_dir() else [path]:
            if file.suffix in {".py", ".toml"}:
                seen.update(file.read_bytes())
    return seen.hexdigest()


def kept(name: str, key: str) -> Row | None:
    """The row of an earlier run, where nothing that it depends on has changed."""
    try:
        row = Row.model_validate_json((WORK / f"{name}.row.json").read_bytes())
    except (OSError, ValidationError):
        return None
    return row if row.key == key else None


def machine() -> str:
    """What this ran on, as the kernel says."""
    facts = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = next((line.partition(":")[2].strip() for line in facts.splitlines() if "model name" in line), "")
    wide = next((name for name in ("avx512_vnni", "avx512f", "avx2") if f" {name} " in facts), "no AVX")
    return f"{platform.machine()}, {model or 'unknown'}, {os.cpu_count()} cores, {wide}, no GPU used, one engine thread"


def write(rows: list[Row], mark: str) -> None:
    """Put rows into the page's table below its mark; those of other methods stay as they are, with their own dates."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(mark)
    table, cut, after = rest.partition("\n<!--")
    lines = {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}
    lines |= {row.name: str(row) for row in rows}
    body = "\n".join((HEAD, *lines.values()))
    PAGE.write_text(f"{before}{mark}\n\nOn {machine()}.\n\n{body}\n{cut}{after}", encoding="utf-8")


def settings_of(name: str, *, quick: bool) -> Settings:
    """How much is spent on one method."""
    if not quick:
        return FULL
    steps = SLOW.get(name, QUICK.effort.steps)
    return QUICK._replace(effort=QUICK.effort.model_copy(update={"steps": steps}))


def everything() -> list[str]:
    """Every method that has a row."""
    folders = [name for name, one in methods().items() if one.output is Form.FOLDER and name not in BASES]
    return [*folders, *GROUPS, *GGUF]


def wrong(row: Row) -> Iterator[str]:
    """What speaks against a row."""
    if len(row.artifact.sample.split()) < FEW_WORDS:
        yield f"{row.name}: wrote hardly a word: {row.artifact.sample!r}"
    if MUST.get(row.name, row.decision.verdict) is not row.decision.verdict:
        yield f"{row.name}: {row.decision.sentence}"


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    told = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("--quick", action="store_true")
    told.add_argument("--jobs", type=int, default=1)
    told.add_argument("--write", action="store_true")
    told.add_argument("names", nargs="*")
    return told.parse_args()


async def main() -> int:
    """Run what is asked for, print the table."""
    told, start = arguments(), time.monotonic()
    WORK.mkdir(parents=True, exist_ok=True)
    halves = texts.find(CACHE)
    await baseline(halves)
    rows: list[Row] = []
    failures: list[str] = []
    turn = asyncio.Semaphore(told.jobs)
    print(HEAD, flush=True)

    async def one(name: str) -> None:
        settings = settings_of(name, quick=told.quick)
        async with turn:
            row = None if told.names else kept(name, key_of(name, halves, settings))
            try:
                row = row or await run(name, halves, settings)
            except AgentError as error:
                failures.append(f"{name}: {error.detail}")
                return
        (WORK / f"{name}.row.json").write_text(row.model_dump_json(indent=1), encoding="utf-8")
        print(row, flush=True)
        rows.append(row)
        failures.extend(wrong(row))

    wanted = told.names or everything()
    await asyncio.gather(*(one(name) for name in wanted))
    if told.write:
        write(sorted(rows, key=lambda row: wanted.index(row.name)), QUICK_MARK if told.quick else MARK)
    print(f"{len(rows)} of {len(wanted)} made, {len(failures)} failures, {time.monotonic() - start:.0f} s")
    print("\n".join(failures))
    return bool(failures)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
