"""A tenfold spike on a real deployment: what the autoscaler did, and how priority traffic and the rest fared.

Two crowds of users share one gateway: a few whose requests say `Acp-Priority: high`, and many who say nothing. The many
become ten times as many for a while. Needs the `llamacpp` and `smollm2` toolchains and the system's haproxy.
"""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cli.crowd import Crowd, Went
from cli.places import workshop
from executors import toolchain
from executors.deploy.autoscale import Autoscaler
from executors.deploy.engines import Engines
from executors.deploy.haproxy import GatewaySettings
from executors.deploy.home import Home
from executors.deploy.site import Site
from planners.scaling import decide
from schemas.plan import Strategy
from schemas.scaling import Load, ScalingDecision, ScalingRule, ScalingState

STRATEGY = Strategy(engine="llama.cpp", weight_format="Q4_1", accelerator="host", max_sequences=2, context=256)
RULE = ScalingRule(most=2, target=0.9, ready_s=3, up_cooldown_s=5, down_hold_s=15)
CALM_RPS, HIGH_RPS, SPIKE = 0.8, 0.5, 10
BEFORE_S, DURING_S, AFTER_S = 20.0, 20.0, 40.0
PROMPTS = [f"Chapter {number}. It was a calm day at sea, and the ships lay still" for number in range(200)]


class Trace:
    """The policy with its memory, and every look that it had."""

    def __init__(self) -> None:
        self.state = ScalingState(replicas=1)
        self.began = time.monotonic()

    def decide(self, load: Load) -> ScalingDecision:
        """One look."""
        decision = decide(load, self.state, RULE)
        self.state = decision.state
        return decision

    async def show(self, load: Load, decision: ScalingDecision) -> None:
        """One line a look: seconds, waiting, open, replicas, why they change."""
        at = load.at_s - self.began
        figures = f"{at:6.1f} s  {load.queued:4d} waiting  {load.open_requests:2d} open"
        print(f"{figures}  {decision.replicas} replicas  {decision.why}")


def told(name: str, went: Sequence[Went], since: float, until: float) -> None:
    """One crowd's latencies in a span of time."""
    rows = [one for one in went if since <= one.at_s < until]
    ms = [one.ms for one in rows if not one.error]
    p50, p95 = np.percentile(ms, (50, 95)) if ms else (np.nan, np.nan)
    print(f"  {name:7} {len(rows):4d} requests, {len(rows) - len(ms)} failed, p50 {p50:.0f} ms, p95 {p95:.0f} ms")


async def main() -> None:
    """Serve, spike, print, take down."""
    place = workshop()
    weights = toolchain.find("smollm2", place.cache).files[0]
    folder = Path(tempfile.mkdtemp(prefix="iw-", dir="/tmp"))
    home = Home.under(folder, "spike")
    home.make()
    engines = Engines(home, toolchain.find("llamacpp", place.cache).python)
    site = Site(home, engines, GatewaySettings(queue_s=120))
    try:
        now = await site.open("SmolLM2", site.release(None, STRATEGY, weights, weights))
        many = Crowd(now.url, PROMPTS, CALM_RPS)
        high = Crowd(now.url, PROMPTS, HIGH_RPS, headers={"Acp-Priority": "high"})
        trace = Trace()
        scaler = asyncio.create_task(Autoscaler(site, trace.decide, trace.show).run())
        marks = [time.time()]
        async with many.asking(), high.asking():
            for seconds, factor in ((BEFORE_S, SPIKE), (DURING_S, 1), (AFTER_S, 1)):
                await asyncio.sleep(seconds)
                marks.append(time.time())
                many.rate = CALM_RPS * factor
        scaler.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await scaler
    finally:
        await site.take_down()
        shutil.rmtree(folder)
    for what, since, until in zip(("before", "spike", "after"), marks, marks[1:], strict=False):
        print(f"{what}, {until - since:.0f} s:")
        told("high", high.went, since, until)
        told("others", many.went, since, until)


if __name__ == "__main__":
    asyncio.run(main())
