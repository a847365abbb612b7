"""Our chosen configuration, FiTuna's and the untouched baseline under the same load, in turn, on this machine.

    python -m benchmarks.outcome [--write] [job | fituna | rounds ...]

Three phases, each kept in the work folder and not done again unless it is named:

- `job`: the whole main job, as `make demo` runs it, with the same command and limits;
- `fituna`: FiTuna (toolchain `fituna`) on the same float16 weights and evaluation text, asked for the same quality and
  for the tokens a second that the same throughput needs; it drives llama.cpp's own tools out of
  `<cache>/llama-tools/bin` (docs/outcome.md says how they are built);
- `rounds`: all three served at once, one loaded at a time, round by round; what llama.cpp serves by the same build.
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import subprocess
import sys
from pathlib import Path
from statistics import median

from pydantic import BaseModel

from cli.demo import COMMAND, run_demo
from cli.places import workshop
from executors import texts, toolchain
from executors.measure.builtin import BuiltIn
from executors.measure.client import Client, connected
from executors.measure.gate import GateRule
from executors.measure.load import LoadGenerator
from executors.measure.paired import interleaved, paired_ratio
from executors.measure.score import judge
from executors.serve.engine import Endpoint, tokens
from executors.serve.registry import engine
from executors.worker import Workbench
from handlers.workbench.conditions import DISTURBING_CORES
from schemas.base import Record
from schemas.measurement import Arrivals, GateDecision, LevelSpec, LoadLevel
from schemas.plan import Strategy
from schemas.report import Report

PLACE = workshop()
WORK = PLACE.cache / "outcome"
TOOLS = PLACE.cache / "llama-tools" / "bin"
PAGE = Path(__file__).parents[1] / "docs" / "outcome.md"
MARK = "<!-- table -->"
PHASES = ("job", "fituna", "rounds")
ROUNDS, FEWEST = 12, 4
"""Rounds of each level; those beside which other work kept a core busy do not count, and so many must be left."""
INPUT, OUTPUT = COMMAND["workload"]["input_tokens"], COMMAND["workload"]["output_tokens"]
LOSS = COMMAND["constraints"]["max_quality_loss"]
SERVER_SLOTS, SERVER_BATCH = 4, 512
"""What `llama-server` does with the command that FiTuna prints: its defaults for slots and tokens of a step."""
CONTEXT = 512
"""Asked of FiTuna: room for four requests of this load."""
CHUNKS = 16
"""Of 512 tokens that FiTuna scores for each format; its default is 32."""
LEVELS = (
    LevelSpec(arrivals=Arrivals.CONCURRENCY, setting=8, requests=16),
    LevelSpec(arrivals=Arrivals.CONCURRENCY, setting=1, requests=4),
)


class Config(BaseModel):
    """FiTuna's `config`."""

    quant: str
    ngl: int
    ctx: int


class Quality(BaseModel):
    """FiTuna's `quality`: percent."""

    quality_loss_pct: float


class Pick(BaseModel):
    """What FiTuna prints as JSON, as far as it matters here."""

    config: Config
    quality: Quality
    gguf_path: Path
    meets_target: bool


class Side(Record):
    """One configuration: how it is served, and what it lost (None for the untouched model)."""

    name: str
    strategy: Strategy
    weights: Path
    gate: GateDecision | None


async def job() -> None:
    """The whole main job, its files under the work folder."""
    await run_demo(WORK / "runs")


def latest() -> tuple[Path, Report]:
    """The newest job's directory and report."""
    reports = sorted((WORK / "runs").glob("job-*/report.json"), key=lambda path: path.stat().st_mtime)
    if not reports:
        sys.exit("there is no job yet: run outcome.py job")
    return reports[-1].parent, Report.model_validate_json(reports[-1].read_bytes())


def fituna() -> None:
    """FiTuna's search; its JSON is kept."""
    directory, _ = latest()
    python = toolchain.find("fituna", PLACE.cache).python
    wanted = COMMAND["targets"]["throughput"] * OUTPUT
    argv = [str(python), "-m", "fituna", "run", "--model", str(directory / "F16.gguf"), "--target-tps", f"{wanted:g}"]
    argv += ["--max-quality-loss", f"{100 * LOSS:g}", "--ctx", str(CONTEXT), "--gpu", "none", "--json"]
    argv += ["--quality-corpus", str(texts.find(PLACE.cache).evaluation.path), "--ppl-chunks", str(CHUNKS)]
    argv += ["--llama-bin-dir", str(TOOLS), "--out", str(WORK / "fituna")]
    print(" ".join(argv), flush=True)
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE)  # noqa: S603 - our own words
    (WORK / "fituna.json").write_bytes(done.stdout)


async def sides() -> list[Side]:
    """The untouched model, FiTuna's pick judged by our gate on the same tokens, and what our job recommends."""
    directory, report = latest()
    base, plain = directory / "F16.gguf", report.plan.baseline.strategy
    untouched = Side(name="untouched", strategy=plain, weights=base, gate=None)
    pick = Pick.model_validate_json((WORK / "fituna.json").read_bytes())
    shape = {
        "weight_format": pick.config.quant,
        "threads": report.host.cores,
        "max_sequences": SERVER_SLOTS,
        "batched_tokens": SERVER_BATCH,
        "context": pick.config.ctx // SERVER_SLOTS,
    }
    found = [untouched]
    bench = Workbench(toolchain.find("llamacpp", PLACE.cache), report.host.cores, WORK / "judge.log")
    rule = GateRule(limit=LOSS, max_tokens=PLACE.effort.judge_tokens)
    text = texts.find(PLACE.cache).evaluation
    gate = await judge(base, pick.gguf_path, text=text, rule=rule, cache=PLACE.cache / "scores", bench=bench)
    theirs = plain.model_copy(update=shape)
    found.append(Side(name="FiTuna's pick", strategy=theirs, weights=pick.gguf_path, gate=gate))
    best = report.best
    if best is None or best.artifact is None:
        sys.exit("our job recommends the untouched model: there is nothing to compare")
    weights = directory / best.artifact.path
    found.append(Side(name="inferwright's", strategy=best.candidate.strategy, weights=weights, gate=best.gate))
    return found


async def rounds(compared: list[Side]) -> list[list[list[LoadLevel]]]:
    """By level, side and round."""
    text = texts.find(PLACE.cache).calibration.path

    async def after(number: int, place: int, level: LoadLevel) -> None:
        print(f"round {number} {compared[place].name}: {level.throughput_rps.value:.2f} requests/s", flush=True)

    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(connected(60))
        pairs: list[tuple[Endpoint, LoadGenerator]] = []
        for side in compared:
            chosen, log = engine(side.strategy.engine), WORK / f"serve-{side.weights.stem}.log"
            python = toolchain.find(chosen.toolchain, PLACE.cache).python
            served = chosen.serve(side.strategy, side.weights, python=python, log=log)
            endpoint = await stack.enter_async_context(served)
            ids = await tokens(endpoint, text.read_text(encoding="utf-8")[: 32 * INPUT * 12])
            prompts = [ids[INPUT * at :][:INPUT] for at in range(32)]
            pairs.append((endpoint, BuiltIn(Client(session, endpoint, prompts, OUTPUT))))
        return [
            undisturbed(
                await interleaved(pairs, level, rounds=ROUNDS, rows=WORK / f"rounds-{number}.jsonl", on_round=after)
            )
            for number, level in enumerate(LEVELS)
        ]


def undisturbed(levels: list[list[LoadLevel]]) -> list[list[LoadLevel]]:
    """The rounds, by side, in which nothing but the engine and the load was at work on any side.

    The rule looks at the machine and not at the figures, and drops a round on all sides at once.
    """
    quiet = [
        all(one.resources.other_cores <= DISTURBING_CORES for one in round_) for round_ in zip(*levels, strict=True)
    ]
    if sum(quiet) < FEWEST:
        sys.exit(f"only {sum(quiet)} of {ROUNDS} rounds were undisturbed: run again on a quieter machine")
    return [[one for one, keep in zip(of_side, quiet, strict=True) if keep] for of_side in levels]


def spread(values: list[float], form: str = ".2f") -> str:
    """The median of the rounds, with the least and the most of them."""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def table(compared: list[Side], found: list[list[list[LoadLevel]]]) -> str:
    """A row for each side and level."""
    lines = ["| open | configuration | requests/s | tokens/s | TTFT p50, ms | TPOT p50, ms | latency p95, ms | MB |"]
    lines.append("|---" * 8 + "|")
    for level, levels in zip(LEVELS, found, strict=True):
        for side, of_side in zip(compared, levels, strict=True):
            cells = [
                f"{level.setting:g}",
                f"{side.name}: {side.strategy.label}",
                spread([one.throughput_rps.value for one in of_side]),
                spread([one.output_tokens_s.value for one in of_side], ".1f"),
                spread([one.ttft.p50.value for one in of_side if one.ttft], ".0f"),
                spread([one.tpot.p50.value for one in of_side if one.tpot], ".1f"),
                spread([one.latency.p95.value for one in of_side if one.latency], ".0f"),
                f"{max(one.resources.rss_peak_mb for one in of_side):.0f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def sentences(compared: list[Side], found: list[list[list[LoadLevel]]]) -> list[str]:
    """What each lost, and ours over the others, paired by round."""
    lines = []
    for side in compared[1:]:
        if side.gate:
            quality = side.gate.quality
            interval = f"{quality.loss_low:+.2%} to {quality.loss_high:+.2%}"
            lines.append(
                f"- {side.name} ({side.weights.name}): perplexity loss {quality.loss:+.2%} ({interval}, "
                f"{quality.tokens} tokens), {side.gate.verdict.value} the gate of {side.gate.limit:.0%}."
            )
    for level, levels in zip(LEVELS, found, strict=True):
        ours = [one.throughput_rps.value for one in levels[-1]]
        for side, of_side in zip(compared[:-1], levels[:-1], strict=True):
            ratio = paired_ratio([one.throughput_rps.value for one in of_side], ours, "rounds")
            lines.append(
                f"- With {level.setting:g} open, inferwright's over {side.name}: {ratio.value:.2f} times its rate "
                f"({ratio.low:.2f} to {ratio.high:.2f}, 90 %, {len(ours)} pairs)."
            )
    failed = sum(one.failed for levels in found for of_side in levels for one in of_side)
    counts = ", ".join(
        f"{len(levels[0])} with {level.setting:g} open" for level, levels in zip(LEVELS, found, strict=True)
    )
    lines.append(f"- Of {ROUNDS} rounds of each level these were undisturbed by other work and counted: {counts}.")
    lines.append(f"- {failed} requests failed or timed out in all rounds together.")
    return lines


async def compare(*, write: bool) -> None:
    """Serve, load, print; with `write` into docs/outcome.md too."""
    compared = await sides()
    found = await rounds(compared)
    today, host = dt.datetime.now(tz=dt.UTC).date(), latest()[1].host
    place = f"{host.cpu}, {host.cores} cores, {', '.join(host.isa)}, no GPU"
    head = f"Measured {today} on {place}; {INPUT} tokens in, {OUTPUT} out, median (least to most) of rounds."
    text = "\n".join([head, "", table(compared, found), "", *sentences(compared, found)])
    print(text)
    if write:
        PAGE.write_text(f"{PAGE.read_text(encoding='utf-8').partition(MARK)[0]}{MARK}\n\n{text}\n", encoding="utf-8")


def main() -> None:
    """The phases that are asked for; those without a result where none is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phases", nargs="*", metavar="PHASE", help=f"{', '.join(PHASES)}; by default what is missing")
    parser.add_argument("--write", action="store_true", help="put the table into docs/outcome.md")
    given = parser.parse_args()
    asked: set[str] = set(given.phases)
    if not asked <= set(PHASES):
        parser.error(f"phases are {', '.join(PHASES)}")
    WORK.mkdir(parents=True, exist_ok=True)
    if "job" in asked or (not asked and not list((WORK / "runs").glob("job-*/report.json"))):
        asyncio.run(job())
    if "fituna" in asked or (not asked and not (WORK / "fituna.json").exists()):
        fituna()
    if "rounds" in asked or not asked:
        asyncio.run(compare(write=given.write))


if __name__ == "__main__":
    main()
