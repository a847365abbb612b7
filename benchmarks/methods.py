"""Runs methods of `executors/compress` on the real model and prints a table: seconds, size, losses, verdict, words.

Usage: python -m benchmarks.methods [--quick] [--jobs N] [--minutes N] [--turn N] [--write] [NAME ...]. Each method
makes its artifact, the quality gate judges it against the float16 form that the shipped weights were dequantised to,
and engines serve it (`method_serving.py`). `--quick` is what CI runs: short calibration, few steps, an early gate.
`--jobs` run beside each other, one engine thread each. A row is kept and used again only while code, pins, texts and
settings are the same; it is made again when it is named. After `--minutes` none is begun any more: the clear cases come
first, then those that are due from the row that `--turn` counts to, so that in turns each is made. `--write` puts rows
into docs/methods.md, each with its date. The exit status is 1 where a method failed or a row has something against it.
"""

import argparse
import asyncio
import datetime as dt
import hashlib
import math
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from benchmarks.method_row import HEAD, MUST, Row, write
from benchmarks.method_serving import Stand, read_blocks
from executors import texts, toolchain
from executors.compress.compress import Effort, compress
from executors.compress.gguf import MIXED, PROMPT, compute_importance, quantize, recipe
from executors.compress.methods import Form, Method, method, methods
from executors.host import probe
from executors.measure.gate import GateRule
from executors.measure.score import judge
from executors.measure.tasks import answering
from executors.serve.registry import ENGINES
from executors.texts import Texts
from executors.worker import Workbench
from planners.catalog import accelerator_from_host
from schemas.artifact import Artifact
from schemas.error import AgentError

ROOT = Path(__file__).parents[1]
MARK, QUICK_MARK = "<!-- table -->", "<!-- quick table -->"
CACHE = Path(os.environ.get("INFERWRIGHT_CACHE", "~/.cache/inferwright")).expanduser()
WORK = CACHE / "methods"
GGUF = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q4_0+imatrix", "Q4_0+mix", "Q3_K_M", "Q2_K", "IQ4_NL")
GROUPS = ("gptqmodel-4bit-g32", "gptqmodel-8bit-g32", "openvino-int4-g32")
BASES = ("safetensors",)
CODE = ("executors/compress", "executors/measure", "executors/serve", "executors/workers", "executors/texts.py")
CODE += ("benchmarks/method_serving.py", "planners/data/support.csv")
"""What a kept row depends on besides its toolchains and settings."""
IMPORTANCE_TOKENS = 2048
LONGEST_S = 1200
"""A row that takes longer has failed."""


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


async def run(name: str, halves: Texts, settings: Settings, stand: Stand) -> Row:
    """Make, load, judge, serve; what was made is deleted again."""
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
    judged_s = time.monotonic() - start
    served = await stand.serve(chosen, target, read_blocks(bench), WORK / f"{name}.serve.log")
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    return Row(
        name=name,
        key=key_of(name, halves, settings),
        date=str(dt.datetime.now(tz=dt.UTC).date()),
        settings=str(settings),
        artifact=made,
        decision=decision,
        judged_s=judged_s,
        own=await stand.hear(made.sample),
        served=served,
    )


def key_of(name: str, halves: Texts, settings: Settings) -> str:
    """What a row depends on, as one digest."""
    seen = hashlib.sha256(repr((name, settings, halves.calibration.sha256, halves.evaluation.sha256)).encode())
    for tools in (chosen_of(name).toolchain, *(engine.toolchain for engine in ENGINES.values())):
        made = toolchain.find(tools, CACHE).stamp
        seen.update(repr((made and made.digest, PROMPT, IMPORTANCE_TOKENS)).encode())
    for part in CODE:
        path = ROOT / part
        for file in sorted(path.rglob("*.*")) if path.is_dir() else [path]:
            if file.suffix in {".py", ".toml", ".csv"}:
                seen.update(file.read_bytes())
    return seen.hexdigest()


def kept(name: str, key: str) -> Row | None:
    """The row of an earlier run, where nothing that it depends on has changed and nothing was wrong with it."""
    try:
        row = Row.model_validate_json((WORK / f"{name}.row.json").read_bytes())
    except (OSError, ValidationError):
        return None
    return row if row.key == key and not [*row.wrong()] else None


def due(names: Sequence[str], turn: int) -> list[str]:
    """The order to make rows in: the clear cases, then the others from the one that `turn` counts to."""
    at = turn % max(1, len(names))
    return sorted((*names[at:], *names[:at]), key=lambda name: name not in MUST)


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


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    told = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("--quick", action="store_true")
    told.add_argument("--jobs", type=int, default=1)
    told.add_argument("--minutes", type=float, default=math.inf)
    told.add_argument("--turn", type=int, default=0)
    told.add_argument("--write", action="store_true")
    told.add_argument("names", nargs="*")
    return told.parse_args()


async def main() -> int:
    """Run what is asked for, print the table and what became of each row."""
    told, start = arguments(), time.monotonic()
    WORK.mkdir(parents=True, exist_ok=True)
    halves = texts.find(CACHE)
    await baseline(halves)
    wanted = told.names or everything()
    settings = {name: settings_of(name, quick=told.quick) for name in wanted}
    found = {} if told.names else {name: kept(name, key_of(name, halves, settings[name])) for name in wanted}
    rows = {name: row for name, row in found.items() if row}
    print("\n".join((HEAD, *map(str, rows.values()))), flush=True)
    made: dict[str, Row] = {}
    left: list[str] = []
    failures: list[str] = []
    turn = asyncio.Semaphore(told.jobs)

    async def one(name: str, stand: Stand) -> None:
        async with turn:
            if time.monotonic() - start > 60 * told.minutes:
                left.append(name)
                return
            try:
                async with asyncio.timeout(LONGEST_S):
                    row = await run(name, halves, settings[name], stand)
            except (AgentError, TimeoutError) as error:
                failures.append(f"{name}: {str(error) or f'not made in {LONGEST_S} s'}")
                return
        (WORK / f"{name}.row.json").write_text(row.model_dump_json(indent=1), encoding="utf-8")
        print(row, flush=True)
        made[name] = row
        failures.extend(row.wrong())

    here = accelerator_from_host(await probe(WORK / "host.log"))
    async with answering(WORK / "F16.gguf", "llama.cpp", bench_of("llamacpp", "untouched")) as untouched:
        stand = Stand(here, CACHE, halves.evaluation, WORK / "safetensors", untouched)
        todo = due([name for name in wanted if name not in rows], told.turn)
        await asyncio.gather(*(one(name, stand) for name in todo))
    if told.write:
        table = rows | made
        write([table[name] for name in wanted if name in table], QUICK_MARK if told.quick else MARK)
    for what, names in (("made now", made), ("kept from an earlier run", rows), ("left to a later run", left)):
        print(f"{len(names)} {what}: {', '.join(names) or '-'}")
    print(f"{len(failures)} failures in {time.monotonic() - start:.0f} s")
    print("\n".join(failures))
    return bool(failures)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
