"""What the watch of quality does and leaves alone. The gateway is real; engines and the scorer are doubles."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from closing.records import gate
from deploying.test_rollout import Stage, stage  # noqa: F401 - a fixture

from cli.crowd import Crowd
from executors.deploy.drift import DriftWatch, begin, drift_of
from executors.deploy.prompts import LivePrompts
from executors.measure.gate import GateRule
from executors.process import Child
from handlers.deployment.look import look
from schemas.command import QualityWatch
from schemas.deployment import Deployment, DeploymentState, Release, Slot
from schemas.measurement import GateDecision, GateVerdict
from schemas.sampling import Drift, DriftState

SPEC = QualityWatch(share=1.0, tokens=1024, pause_s=0.2, rollback=True)
PROMPTS = [f"{number}: " + "the sea was calm " * 120 for number in range(200)]


@dataclass
class Judge:
    """Decides as it is told; meanwhile a process of its own runs, as a scorer does."""

    folder: Path
    verdicts: Iterable[GateVerdict]
    let: asyncio.Event = field(default_factory=asyncio.Event)
    scorer: psutil.Process | None = None
    rules: list[GateRule] = field(default_factory=list)
    releases: list[int] = field(default_factory=list)

    async def __call__(self, release: Release, _: LivePrompts, rule: GateRule) -> GateDecision:
        """Wait until it is let."""
        self.rules.append(rule)
        self.releases.append(release.number)
        argv = [sys.executable, "-c", "import time; time.sleep(600)"]
        async with Child(argv, log=self.folder / "scorer.log") as child:
            guard = psutil.Process(child.process.pid)
            await until(lambda: bool(guard.children()))
            (self.scorer,) = guard.children()
            await self.let.wait()
        return gate(0.1, next(iter(self.verdicts)))


async def until(holds: Callable[[], bool]) -> None:
    """Wait for it."""
    give_up = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.05)


async def nothing(_: tuple[int, ...]) -> str:
    """No ids are sent."""
    return ""


@contextlib.asynccontextmanager
async def watching(stage: Stage, judge: Judge) -> AsyncIterator[Callable[[], Drift]]:  # noqa: F811 - its value
    """The watch of a deployment while the body lasts, and what it says."""
    home = stage.site.home
    begin(home, SPEC, 0.02)
    watch = DriftWatch(stage.site, judge, lambda _: nothing, contextlib.nullcontext, look_s=0.1)
    running = asyncio.create_task(watch.run())

    def said() -> Drift:
        found = drift_of(home)
        assert found
        return found

    try:
        yield said
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def opened(stage: Stage, how: str, slots: int = 8) -> Deployment:  # noqa: F811 - as above
    """A first release that is not its own reference."""
    return await stage.site.open("m", await other(stage, None, how, slots))


async def other(stage: Stage, before: Deployment | None, how: str, slots: int = 8) -> Release:  # noqa: F811 - as above
    """A release with a reference beside its weights."""
    made = await stage.release(before, how)
    reference = stage.folder / "F16.gguf"
    reference.write_text("reference")
    strategy = made.strategy.model_copy(update={"max_sequences": slots})
    return made.model_copy(update={"reference": stage.site.home.adopt(reference), "strategy": strategy})


async def test_the_scorer_stands_still_while_anybody_waits(stage: Stage) -> None:  # noqa: F811 - the fixture
    """It runs with an empty queue, is stopped as soon as one fills, goes on when it is empty again."""
    now = await opened(stage, "slow", slots=1)
    judge = Judge(stage.folder, [GateVerdict.PASSED])
    async with watching(stage, judge) as said, Crowd(now.url, PROMPTS, 2.0).asking() as crowd:
        await until(lambda: judge.scorer is not None)
        scorer = judge.scorer
        assert scorer
        await until(lambda: scorer.status() != psutil.STATUS_STOPPED)
        crowd.rate = 20.0
        await until(lambda: scorer.status() == psutil.STATUS_STOPPED)
        crowd.rate = 0.5
        await until(lambda: scorer.status() != psutil.STATUS_STOPPED)
        judge.let.set()
        await until(lambda: said().state is DriftState.RESTING)
    assert crowd.failed == []
    assert said().sampling is not None


async def test_it_goes_back_once_and_not_to_and_fro(stage: Stage) -> None:  # noqa: F811 - the fixture
    """Two releases that are both beyond the limit: the way back is taken, and the way forth again is not."""
    first = await opened(stage, "normal")
    both = await stage.site.add(first, await other(stage, first, "fast"), DeploymentState.ROLLING_OUT)
    await stage.site.settle(both, Slot.GREEN)
    judge = Judge(stage.folder, [GateVerdict.FAILED])
    judge.let.set()
    async with watching(stage, judge) as said, Crowd(first.url, PROMPTS, 10.0).asking() as crowd:
        await until(lambda: said().breached == (2, 1) and said().window > 2)
        told = await look(stage.site, stage.site.known())
    now = stage.site.known()
    assert (now.stable.number, now.state, now.numbered) == (1, DeploymentState.LIVE, 2)
    assert "It serves on: v2" in said().sentence
    assert "Quality on live prompts is beyond its limit: v1" in told.sentence
    assert crowd.failed == []
    assert judge.releases[:2] == [2, 1]
    # one error for all windows of a release together
    alphas = [1 - rule.confidence for release, rule in zip(judge.releases, judge.rules, strict=True) if release == 1]
    assert [round(0.05 / alpha) for alpha in alphas[:2]] == [2, 6]


async def test_a_rollout_is_left_to_itself(stage: Stage) -> None:  # noqa: F811 - the fixture
    """While another release is on trial nothing is sampled but by the rollout; the window is begun anew afterwards."""
    first = await opened(stage, "normal")
    judge = Judge(stage.folder, [GateVerdict.PASSED])
    async with watching(stage, judge) as said:
        await until(lambda: said().state is DriftState.SAMPLING)
        both = await stage.site.add(first, await other(stage, first, "fast"), DeploymentState.ROLLING_OUT)
        await until(lambda: said().state is DriftState.IDLE)
        await stage.site.gateway.sample(0.5)
        await asyncio.sleep(0.5)
        shares = await stage.site.gateway.runtime.mapped(stage.site.home.path / "share.map")
        await stage.site.settle(both, Slot.BLUE)
        await until(lambda: said().state is DriftState.SAMPLING)
    assert shares["sampled"] == "5000"
    assert judge.releases == []


async def test_the_untouched_model_is_not_judged(stage: Stage) -> None:  # noqa: F811 - the fixture
    """There is nothing to hold it against, and nothing of what it is asked is kept."""
    await stage.site.open("m", await stage.release(None, "normal"))
    judge = Judge(stage.folder, [GateVerdict.PASSED])
    async with watching(stage, judge) as said:
        await until(lambda: "untouched model" in said().sentence)
    shares = await stage.site.gateway.runtime.mapped(stage.site.home.path / "share.map")
    assert shares["sampled"] == "0"
