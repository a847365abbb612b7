"""The gateway's cost: the same requests to one engine alone and through its gateway, in turn, in one run.

Two parts: small requests that the engine answers at once (`/tokenize`), which show what the gateway adds to each; and
streamed completions of the real model at a fixed number of open requests, which show what that does to throughput.
Needs the `llamacpp` and `smollm2` toolchains and the system's haproxy.
"""

import asyncio
import shutil
import tempfile
import time
from pathlib import Path

import aiohttp
import numpy as np

from cli.places import workshop
from executors import toolchain
from executors.deploy.engines import Engines
from executors.deploy.haproxy import GatewaySettings
from executors.deploy.home import Home
from executors.deploy.site import Site
from executors.measure.paired import interleaved, paired_ratio
from executors.serve.engine import Endpoint
from executors.serve.llamacpp import tokens
from schemas.measurement import Arrivals, LevelSpec, LoadLevel
from schemas.plan import Strategy

STRATEGY = Strategy(engine="llama.cpp", weight_format="Q4_1", accelerator="host", max_sequences=4, context=512)
SMALL = 2000
"""Pairs of small requests."""
ROUNDS = 5
TEXT = "The sea was calm that day, and the ships lay still in the harbour. " * 40


async def small(engine: str, gateway: str) -> None:
    """Print what a small request takes alone and through the gateway, paired, the order alternating."""
    took = np.zeros((2, SMALL))
    body = {"content": "The sea was calm"}
    async with aiohttp.ClientSession() as session:
        for pair in range(SMALL + 50):
            for place in (0, 1) if pair % 2 else (1, 0):
                began = time.perf_counter()
                async with session.post((engine, gateway)[place] + "/tokenize", json=body) as answer:
                    await answer.read()
                if pair >= 50:
                    took[place, pair - 50] = (time.perf_counter() - began) * 1e3
    alone, through = (np.percentile(row, (50, 99)) for row in took)
    print(f"{SMALL} pairs of small requests, one at a time, kept connections, ms:")
    print(f"  engine alone        p50 {alone[0]:.3f}  p99 {alone[1]:.3f}")
    print(f"  through the gateway p50 {through[0]:.3f}  p99 {through[1]:.3f}")
    paired = np.percentile(took[1] - took[0], 50)
    print(
        f"  added               p50 {through[0] - alone[0]:.3f}  p99 {through[1] - alone[1]:.3f}  paired {paired:.3f}"
    )


async def completions(endpoints: list[Endpoint], folder: Path) -> None:
    """Print what the gateway does to streamed completions at four open requests."""
    ids = await tokens(endpoints[0], TEXT)
    prompts = [ids[at : at + 32] for at in range(0, len(ids) - 32, 16)]
    level = LevelSpec(arrivals=Arrivals.CONCURRENCY, setting=4, requests=24, limit_s=30)

    async def quiet(_: int, __: int, ___: LoadLevel) -> None:
        pass

    alone, through = await interleaved(
        endpoints, prompts, level, output_tokens=8, rounds=ROUNDS, rows=folder / "rows", on_round=quiet
    )
    rates = [[round_.throughput_rps.value for round_ in rounds] for rounds in (alone, through)]
    ratio = paired_ratio(rates[0], rates[1], "gateway")
    print(f"{ROUNDS} rounds of {level.requests} completions, 32 tokens in, 8 out, 4 open requests, one engine thread:")
    for name, rounds in (("alone", alone), ("gateway", through)):
        rps = ", ".join(f"{round_.throughput_rps.value:.2f}" for round_ in rounds)
        p50 = np.median([round_.latency.p50.value for round_ in rounds if round_.latency])
        p99 = np.median([round_.latency.p99.value for round_ in rounds if round_.latency])
        errors = sum(round_.errors for round_ in rounds)
        print(f"  {name:8} requests/s {rps}; latency p50 {p50:.0f} ms, p99 {p99:.0f} ms, errors {errors}")
    print(f"  throughput, gateway over alone: {ratio.value:.4f} (90% interval {ratio.low:.4f} to {ratio.high:.4f})")


async def main() -> None:
    """Serve, measure, take down."""
    place = workshop()
    weights = toolchain.find("smollm2", place.cache).files[0]
    folder = Path(tempfile.mkdtemp(prefix="iw-", dir="/tmp"))
    home = Home.under(folder, "cost")
    home.make()
    site = Site(home, Engines(home, toolchain.find("llamacpp", place.cache).python), GatewaySettings())
    try:
        now = await site.open("SmolLM2", site.release(None, STRATEGY, weights, weights))
        (replica,) = now.stable.replicas
        await small(replica.url, now.url)
        pid = await site.gateway.runtime.pid()
        await completions([Endpoint(url, "m", pid, 0) for url in (replica.url, now.url)], folder)
    finally:
        await site.take_down()
        shutil.rmtree(folder)


if __name__ == "__main__":
    asyncio.run(main())
