"""Times engines on this machine's GPU, with weights of no meaning; writes rows as `reference/perf_collected.csv` has.

python -m benchmarks.gpu --out OUT vllm:llama-3.1-8b:FP8 llama.cpp:llama-3.1-8b:Q4_K_M

Needs an NVIDIA GPU, and vLLM in this interpreter, or `llama-bench` and `llama-batched-bench` on the PATH and `gguf` in
this interpreter. vLLM is started with the arguments that a plan gives it and loaded by the client that jobs use; its
own settings (`VLLM_...`) are handed on. `inferwright predict --in OUT/....csv --out FILE` predicts the rows.
"""

import argparse
import asyncio
import csv
import json
import os
import re
import shlex
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from benchmarks.rows import COLUMNS
from benchmarks.weightless import write_folder, write_gguf
from executors.host import gpus
from executors.measure.builtin import BuiltIn
from executors.measure.client import Client, connected
from executors.measure.load import run_level
from executors.process import Child
from executors.serve.engine import Endpoint, until_healthy, watched
from planners.catalog import find_hardware, find_model
from planners.launch import launch_of
from schemas.hardware import Accelerator
from schemas.measurement import Arrivals, LevelSpec, LoadLevel
from schemas.plan import Strategy

URL, PORT = "http://127.0.0.1:8123", 8123
READY_S, REQUEST_S, LEVEL_S = 240.0, 120.0, 60.0
SLOTS, BATCHED, CONTEXT = 256, 8192, 8192
ROUNDS, LEAST = 5, 4
"""Requests in a level for each that is open; one more round before it is not counted: kernels compile at first use."""
TAILED = 48
"""Requests below which a 99th percentile is the longest of a few."""
SEED = 1
TELLING = re.compile(r"(Model loading took .*|Available KV cache .*|GPU KV cache size.*|Maximum concurrency .*)")
QUANTIZED = {"BF16": (), "FP8": ("--quantization", "fp8"), "AWQ-INT4": ()}
"""Arguments for each weight format; AWQ's are in the folder's own config."""
ENVIRONMENT = {name: value for name, value in os.environ.items() if name.startswith("VLLM_")} | {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "PYTHONPATH": ":".join(filter(None, sys.path)),
}
BEGAN = time.monotonic()

Measured = tuple[str, float, str]
"""A metric, its value and unit."""
Cells = dict[str, object]


class Load(NamedTuple):
    """Tokens in, tokens out, requests open; with a rate, arrivals per second instead of requests open."""

    prompt: int
    output: int
    open: int = 0
    rate: float = 0
    batch: bool = False
    """Whether they are one batch, whose prompts are read before any answer begins."""

    @property
    def level(self) -> LevelSpec:
        """As load tests run it; arrivals for twenty seconds."""
        if self.rate:
            arrived = round(20 * self.rate)
            return LevelSpec(arrivals=Arrivals.POISSON, setting=self.rate, requests=arrived, limit_s=LEVEL_S)
        count = max(LEAST, ROUNDS * self.open)
        return LevelSpec(arrivals=Arrivals.CONCURRENCY, setting=self.open, requests=count, limit_s=LEVEL_S)

    @property
    def cell(self) -> str:
        """As rows say it: answers of one length keep clients in step."""
        if self.rate:
            return f"{self.rate:g} req/s"
        return f"{self.open} in step" if self.open > 1 and not self.batch else str(self.open)


LOADS = (
    Load(512, 128, 1),
    Load(512, 128, 8),
    Load(512, 128, 32),
    Load(512, 128, 128),
    Load(4096, 128, 1),
    Load(4096, 128, 16),
    Load(128, 512, 64),
    Load(512, 256, rate=10),
)


@dataclass(frozen=True)
class Job:
    """One engine, model and weight format on one accelerator of the catalog."""

    engine: str
    model: str
    weight_format: str
    accelerator: Accelerator
    out: Path

    @property
    def name(self) -> str:
        """For files."""
        return f"{self.engine}-{self.model}-{self.weight_format}"

    def say(self, what: str) -> None:
        """Progress, with the seconds since the start."""
        print(f"{time.monotonic() - BEGAN:6.1f} s  {self.name}: {what}", flush=True)

    def row(self, version: str, load: Load, measured: Measured, note: str) -> Cells:
        """One measurement in the reference's columns."""
        metric, value, unit = measured
        key = self.accelerator.key
        name = f"{self.name} {load.prompt}/{load.output} {load.cell} {metric}"
        who = (name, "measured with benchmarks/gpu.py", "own", self.accelerator.name, 1, version, self.model)
        load_cells = (self.weight_format, load.prompt, load.output, load.cell, 1)
        found = (metric, float(f"{value:.6g}"), unit, f"{note}; dummy weights", key)
        return dict(zip(COLUMNS.split(","), (*who, *load_cells, *found), strict=True))


@asynccontextmanager
async def served(job: Job) -> AsyncIterator[Endpoint]:
    """A plan's vLLM with dummy weights; 8-bit ones are made of them on loading."""
    model = find_model(job.model)
    folder = job.out / "weights" / job.name
    write_folder(model, folder, awq=job.weight_format == "AWQ-INT4")
    strategy = Strategy(
        engine="vllm",
        weight_format="BF16",
        accelerator=job.accelerator.key,
        max_sequences=SLOTS,
        batched_tokens=BATCHED,
        context=CONTEXT,
        chunked_prefill=True,
        scheduling="fcfs",
    )
    launch = launch_of(strategy, model, job.accelerator)
    if launch is None:
        raise RuntimeError("plans start vllm by its own server")
    words = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    words += [*launch.arguments, *QUANTIZED[job.weight_format], "--load-format", "dummy"]
    words += ["--host", "127.0.0.1", "--port", str(PORT), "--served-model-name", "model"]
    job.say(shlex.join(words))
    began = time.monotonic()
    log = job.out / f"{job.name}.log"
    async with Child(words, log=log, env=ENVIRONMENT) as child, watched(child, "vllm"):
        await until_healthy(URL, READY_S)
        for found in TELLING.findall(log.read_text()):
            job.say(found)
        yield Endpoint(URL, "model", child.process.pid, time.monotonic() - began)


async def timed_vllm(job: Job) -> list[Cells]:
    """The rows of one server, load by load."""
    rows = []
    version = f"vLLM {metadata.version('vllm')}"
    random, vocab = np.random.default_rng(SEED), find_model(job.model).vocab
    async with served(job) as endpoint, connected(REQUEST_S) as session:
        job.say(f"ready after {endpoint.ready_s:.1f} s")
        for load in LOADS:
            level = load.level
            prompts = random.integers(2, vocab, (level.requests, load.prompt)).tolist()
            client = BuiltIn(Client(session, endpoint, prompts, load.output))
            await client.send(level.model_copy(update={"requests": max(1, load.open)}), SEED)
            told = await run_level(endpoint, client, level, seed=SEED, rows=job.out / f"{job.name}.jsonl")
            found = list(_measured(told))
            job.say(f"{load.prompt}/{load.output} {load.cell}: " + ", ".join(f"{one[0]} {one[1]:.5g}" for one in found))
            job.say(f"{told.completed} of {told.requests} answered{_beside(told)}")
            rows += [job.row(version, load, one, f"{told.completed} requests; arguments of a plan") for one in found]
    return rows


def _measured(told: LoadLevel) -> Iterator[Measured]:
    """What a level says, in the reference's names; nothing where a request failed."""
    if told.failed or told.ttft is None or told.tpot is None:
        return
    for name, times in (("ttft", told.ttft), ("tpot", told.tpot)):
        yield f"{name}_p50", times.p50.value, "ms"
        if told.completed >= TAILED:
            yield f"{name}_p99", times.p99.value, "ms"
    yield "output_throughput_total", told.output_tokens_s.value, "tok/s"


def _beside(told: LoadLevel) -> str:
    """What no row has: latencies, and how busy the GPU was."""
    found, used = "", told.resources
    if told.latency is not None:
        found = f"; latency p50 {told.latency.p50.value:.0f} ms, p95 {told.latency.p95.value:.0f} ms"
    if used.gpu_util is not None and used.gpu_power_w is not None:
        found += f"; GPU busy {used.gpu_util:.0%}, {used.gpu_power_w:.0f} W"
    return found


async def timed_llamacpp(job: Job) -> list[Cells]:
    """Prefill and decoding of one sequence (`llama-bench`), and of several (`llama-batched-bench`)."""
    weights = job.out / "weights" / f"{job.name}.gguf"
    weights.parent.mkdir(parents=True, exist_ok=True)
    write_gguf(find_model(job.model), job.weight_format, weights)
    job.say(f"{weights.stat().st_size / 1e9:.1f} GB written")
    model, rows, version = ["-m", str(weights), "-ngl", "999"], [], ""
    alone = ["-fa", "1", "-p", "512,4096", "-n", "128", "-r", "5", "-o", "json"]
    for one in json.loads(await _output(job, ["llama-bench", *model, *alone])):
        version = f"llama.cpp {one['build_commit']}"
        load = Load(int(one["n_prompt"]), int(one["n_gen"]), 1)
        metric = f"prefill_tok_s_{load.prompt}" if load.prompt else "decode_tok_s_bs1"
        measured = (metric, median(one["samples_ts"]), "tok/s")
        rows.append(job.row(version, load, measured, "llama-bench, median of 5, flash attention"))
    beside = ["-fa", "on", "-c", "20480", "-npp", "512", "-ntg", "128", "-npl", "1,4,8,16,32"]
    for line in (await _output(job, ["llama-batched-bench", *model, *beside, "--output-format", "jsonl"])).splitlines():
        if line.startswith("{"):
            one = json.loads(line)
            load = Load(int(one["pp"]), int(one["tg"]), int(one["pl"]), batch=True)
            measured = ("decode_tok_s_total", one["speed_tg"], "tok/s")
            rows.append(job.row(version, load, measured, "llama-batched-bench, flash attention"))
    for row in rows:
        job.say(f"{row['isl']}/{row['osl']} x{row['batch_or_concurrency']} {row['metric']} {row['value']}")
    weights.unlink()
    return rows


async def _output(job: Job, words: list[str]) -> str:
    """What a program prints.

    Raises:
        RuntimeError: where it fails.
    """
    async with Child(words, log=job.out / f"{job.name}.log", env=ENVIRONMENT, read_output=True) as child:
        lines = [line.decode() async for line in child.lines()]
        if await child.wait():
            raise RuntimeError(f"{words[0]} failed: {child.tail()}")
    return "\n".join(lines)


TIMED = {"vllm": timed_vllm, "llama.cpp": timed_llamacpp}


def asked(words: str) -> tuple[str, str, str]:
    """Engine, model and format of one job."""
    engine, _, rest = words.partition(":")
    model, _, weight_format = rest.partition(":")
    if engine not in TIMED or not weight_format:
        raise argparse.ArgumentTypeError(
            f"write ENGINE:MODEL:FORMAT with {' or '.join(TIMED)} as the engine, not {words}"
        )
    return engine, model, weight_format


async def here(out: Path) -> Accelerator:
    """This machine's first GPU in the catalog."""
    names = await gpus(out / "nvidia-smi.log")
    if not names:
        raise SystemExit("nvidia-smi names no GPU here; run this on a machine that has one")
    return find_hardware(names[0])[0].accelerator


async def measure(given: argparse.Namespace) -> None:
    """Every job; its rows are written when it ends."""
    given.out.mkdir(parents=True, exist_ok=True)
    accelerator = await here(given.out)
    for engine, model, weight_format in given.jobs:
        job = Job(engine, model, weight_format, accelerator, given.out)
        with (given.out / f"{job.name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS.split(","))
            writer.writeheader()
            writer.writerows(await TIMED[job.engine](job))


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="+", type=asked, metavar="ENGINE:MODEL:FORMAT")
    parser.add_argument("--out", type=Path, required=True, help="a folder for rows, logs and raw requests")
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
