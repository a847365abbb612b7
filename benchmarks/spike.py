"""A tenfold spike on a real deployment: what autoscaler and limiter did, and how priority traffic and the rest fared.

Two crowds share one gateway: a few whose requests say `Acp-Priority: high`, and many who say nothing and ask for three
times as much. The many become ten times as many for a while. First with priorities that order the queue and no more,
then with a promised p95. Before both, what a priority request takes beside others in the same batch. Needs the
`llamacpp` and `smollm2` toolchains and the system's haproxy.

    python benchmarks/spike.py [--p95 MILLISECONDS] [--out FOLDER]
"""

import argparse
import asyncio
import contextlib
import csv
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from cli.crowd import Crowd, Went
from cli.places import workshop
from executors import toolchain
from executors.deploy.autoscale import Autoscaler
from executors.deploy.engines import Engines
from executors.deploy.haproxy import GatewaySettings
from executors.deploy.home import Home
from executors.deploy.limiter import Limiter
from executors.deploy.site import Site
from planners.limits import limit
from planners.scaling import decide
from schemas.deployment import Slot
from schemas.limits import LimitDecision, Promise, Traffic
from schemas.plan import Strategy
from schemas.scaling import Load, ScalingDecision, ScalingRule

STRATEGY = Strategy(engine="llama.cpp", weight_format="Q4_1", accelerator="host", max_sequences=4, context=256)
RULE = ScalingRule(most=2, ready_s=3, up_cooldown_s=5, down_hold_s=15)
PROMPTS = [f"Chapter {number}. It was a calm day at sea, and the ships lay still" for number in range(200)]
QUEUE = 60
"""Of the rest that may wait; more are told 429."""
HIGH = {"Acp-Priority": "high"}
HIGH_TOKENS, REST_TOKENS = 4, 12
PHASES = ("before", "spike", "after")
REFUSED = "status 429"
ASKED_ALONE = 20
"""Requests for each point of the curve."""


@dataclass(frozen=True)
class Scenario:
    """Rates in requests a second, times in seconds."""

    rest_rps: float = 0.8
    high_rps: float = 1.0
    factor: float = 10
    before_s: float = 30
    during_s: float = 60
    after_s: float = 40


@dataclass(frozen=True)
class Look:
    """One line of the trace."""

    at_s: float
    replicas: int
    let_in: int | None
    waiting: int
    why: str


@dataclass
class Trace:
    """What autoscaler and limiter saw and did; seconds since 1970."""

    replicas: int = 1
    let_in: int | None = None
    looks: list[Look] = field(default_factory=list)

    async def scaled(self, load: Load, decision: ScalingDecision) -> None:
        """One look of the autoscaler."""
        self.replicas = decision.replicas
        self.looks.append(Look(time.time(), self.replicas, self.let_in, load.queued, decision.why))

    async def limited(self, _: Slot, traffic: Traffic, decision: LimitDecision) -> None:
        """One look of the limiter."""
        if decision.limit != self.let_in:
            self.let_in = decision.limit
            self.looks.append(Look(traffic.at_s, self.replicas, self.let_in, traffic.queued, decision.why))


@dataclass(frozen=True)
class Ran:
    """One spike: when its phases began and ended, and what happened."""

    marks: tuple[float, ...]
    high: list[Went]
    rest: list[Went]
    looks: list[Look]


async def spike(site: Site, url: str, scenario: Scenario, rule: ScalingRule, promise: Promise | None) -> Ran:
    """Calm, spike, calm, with an autoscaler and, where something is promised, a limiter."""
    rest = Crowd(url, PROMPTS, scenario.rest_rps, REST_TOKENS)
    high = Crowd(url, PROMPTS, scenario.high_rps, HIGH_TOKENS, HIGH)
    trace = Trace()
    followers = [Autoscaler(site, partial(decide, rule=rule), trace.scaled, limited=promise is not None).run()]
    if promise:
        followers.append(Limiter(site, partial(limit, promise=promise), trace.limited).run())
    following = asyncio.gather(*followers)
    marks = [time.time()]
    async with high.asking(), rest.asking():
        phases = ((scenario.before_s, scenario.factor), (scenario.during_s, 1), (scenario.after_s, 1))
        for seconds, then in phases:
            await asyncio.wait({following}, timeout=seconds)
            marks.append(time.time())
            rest.rate = scenario.rest_rps * then
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    return Ran(tuple(marks), high.went, rest.went, trace.looks)


def within(went: list[Went], since: float, until: float) -> list[Went]:
    """Those sent in a span of time."""
    return [one for one in went if since <= one.at_s < until]


def told(ran: Ran) -> None:
    """Print each phase and each class, and every change of replicas and of how many of the rest are let in."""
    print("| phase | class | requests | refused (429) | failed | p50 ms | p95 ms | waiting at most |")
    print("|---" * 8 + "|")
    for phase, since, until in zip(PHASES, ran.marks, ran.marks[1:], strict=False):
        waiting = max((look.waiting for look in ran.looks if since <= look.at_s < until), default=0)
        for name, went in (("high", ran.high), ("rest", ran.rest)):
            rows = within(went, since, until)
            refused = sum(one.error == REFUSED for one in rows)
            served = [one.ms for one in rows if not one.error]
            p50, p95 = np.percentile(served, (50, 95)) if served else (np.nan, np.nan)
            failed = len(rows) - len(served) - refused
            print(f"| {phase} | {name} | {len(rows)} | {refused} | {failed} | {p50:.0f} | {p95:.0f} | {waiting} |")
    print("\n| s | replicas | rest let in | waiting | why |\n" + "|---" * 5 + "|")
    for look in ran.looks:
        if look.why:
            let_in = "all" if look.let_in is None else look.let_in
            print(f"| {look.at_s - ran.marks[0]:.1f} | {look.replicas} | {let_in} | {look.waiting} | {look.why} |")


def write(ran: Ran, name: str, promise: Promise | None, folder: Path) -> None:
    """The trace as a table (`NAME.csv`) and as a picture (`NAME.svg`)."""
    began = ran.marks[0]
    with (folder / f"{name}.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("s", "replicas", "let_in", "waiting", "why"))
        for look in ran.looks:
            table.writerow((f"{look.at_s - began:.1f}", look.replicas, look.let_in, look.waiting, look.why))
    figure = Figure(figsize=(7, 5.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for label, went, color in (("rest", ran.rest, "#9a9a9a"), ("high priority", ran.high, "#1b7f4d")):
        served = [one for one in went if not one.error]
        above.plot([one.at_s - began for one in served], [one.ms for one in served], ".", color=color, label=label)
    if promise:
        above.axhline(promise.p95_ms, color="#b3261e", linestyle="--", linewidth=1, label="promised p95")
    above.set(yscale="log", ylabel="latency at the gateway, ms (measured)")
    seconds = [look.at_s - began for look in ran.looks]
    below.step(seconds, [look.replicas for look in ran.looks], where="post", color="#1b4f7f", label="replicas")
    if promise:
        let_in = [look.let_in or 0 for look in ran.looks]
        below.step(seconds, let_in, where="post", color="#b3261e", label="rest let in")
    waiting = below.twinx()
    waiting.fill_between(seconds, [look.waiting for look in ran.looks], step="post", color="#9a9a9a", alpha=0.3)
    waiting.set_ylabel("waiting (grey)")
    below.set(xlabel="seconds", ylabel="replicas, requests", ylim=(0, None))
    for axes in (above, below):
        axes.legend(frameon=False, fontsize=8, loc="upper right")
        for mark in ran.marks[1:3]:
            axes.axvline(mark - began, color="#444444", linewidth=0.8, linestyle=":")
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


async def curve(url: str) -> None:
    """Print what a priority request takes while so many others are in the engine's batch."""
    print("| others in the batch | p50 ms | p95 ms |\n|---|---|---|")
    for others in range(STRATEGY.max_sequences):
        async with contextlib.AsyncExitStack() as crowds:
            for _ in range(others):
                await crowds.enter_async_context(busy(url))
            alone = Crowd(url, PROMPTS, 1.0, HIGH_TOKENS)
            await alone.one_by_one(ASKED_ALONE)
        p50, p95 = np.percentile([one.ms for one in alone.went], (50, 95))
        print(f"| {others} | {p50:.0f} | {p95:.0f} |")


@contextlib.asynccontextmanager
async def busy(url: str) -> AsyncIterator[None]:
    """One request of the rest after another while the body lasts."""
    asking = asyncio.create_task(Crowd(url, PROMPTS, 1.0, REST_TOKENS).one_by_one())
    try:
        yield
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking


async def main(p95_ms: float, out: Path) -> None:
    """Serve, spike, print, take down, twice."""
    out.mkdir(parents=True, exist_ok=True)
    place = workshop()
    weights = toolchain.find("smollm2", place.cache).files[0]
    folder = Path(tempfile.mkdtemp(prefix="iw-", dir="/tmp"))
    home = Home.under(folder, "spike")
    home.make()
    engines = Engines(home, toolchain.find("llamacpp", place.cache).python)
    site = Site(home, engines, GatewaySettings(queue_limit=QUEUE, queue_s=120))
    try:
        now = await site.open("SmolLM2", site.release(None, STRATEGY, weights, weights))
        await curve(now.stable.replicas[0].url)
        for name, promise in (("ordered", None), ("promised", Promise(p95_ms=p95_ms))):
            await site.gateway.doors(used=promise is not None)
            print(f"\n## {name}: " + (f"p95 of high priority within {p95_ms:g} ms" if promise else "the queue only"))
            ran = await spike(site, now.url, Scenario(), RULE, promise)
            told(ran)
            write(ran, name, promise, out)
            await site.scale(1)
    finally:
        await site.take_down()
        shutil.rmtree(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--p95", type=float, default=800.0)
    parser.add_argument("--out", type=Path, default=Path("runs/spike"))
    asked = parser.parse_args()
    asyncio.run(main(asked.p95, asked.out))
