"""Every way a rollout can end. The gateway is real; engines are doubles that are slow, fail and die on purpose."""

import asyncio
import os
import signal
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from conftest import CACHE
from deploying.doubles import STRATEGY

from cli.crowd import Crowd
from cli.errand import Errand
from executors import toolchain
from executors.deploy.engines import Engines
from executors.deploy.haproxy import GatewaySettings
from executors.deploy.home import Home
from executors.deploy.site import Site
from executors.serve import llamacpp
from executors.toolchain import Toolchain
from handlers.deployment import rollout
from handlers.deployment.desk import Desk
from handlers.deployment.hold import TAKE_BACK
from handlers.deployment.rollout import roll_out
from handlers.markdown.rollout import rollout_markdown
from handlers.workshop import Workshop
from schemas.command import RolloutSpec, VersusSpec
from schemas.deployment import Deployment, DeploymentState, JudgedMetric, Release, RolloutEnd, RolloutOutcome
from schemas.status import InferenceStatus

SPEC = RolloutSpec(
    steps=(0.2, 0.5, 1.0), requests=15, hold_limit_s=20, judge_quality=False, latency_p95=150, max_errors=0.1
)
DOUBLE = Path(__file__).parent / "engine_double.py"


@dataclass
class Stage:
    """A deployment of doubles, and who uses it."""

    site: Site
    folder: Path
    sharing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the new release has a share."""
    crowd: Crowd | None = None

    def hear(self, status: InferenceStatus) -> None:
        """One update of the rollout."""
        if "20% of the requests to" in status.detail:
            self.sharing.set()

    async def release(self, before: Deployment | None, how: str) -> Release:
        """A release whose engine behaves as `how` says."""
        weights = self.folder / f"{how}.gguf"
        weights.write_text(how)
        return self.site.release(before, STRATEGY.model_copy(update={"max_sequences": 8}), weights, weights)

    def desk(self, spec: RolloutSpec) -> Desk:
        """What the rollout has at hand."""
        (self.folder / "logs").mkdir(exist_ok=True)
        return Desk(
            job=Errand("errand", self.folder, self.hear),
            site=self.site,
            tools=Toolchain(toolchain.specification("llamacpp"), CACHE),
            workshop=Workshop(cache=CACHE, model_roots=(), memory=self.folder),
            spec=spec,
            max_quality_loss=0.02,
            label="double",
            version="v",
        )

    async def roll(self, how: str, spec: RolloutSpec = SPEC, rate: float = 40.0) -> RolloutOutcome:
        """From a normal release to one that behaves as `how` says, under load."""
        first = await self.site.open("m", await self.release(None, "normal"))
        self.crowd = Crowd(first.url, ["the sea was calm"], rate)
        async with self.crowd.asking():
            return await roll_out(self.desk(spec), "m", lambda before: self.release(before, how))


@pytest.fixture
async def stage(runs: Path, tmp_path: Path) -> object:
    """A place for doubles; it is taken down afterwards."""
    home = Home.under(runs / "deployments", "doubles")
    home.make()
    double = replace(llamacpp.ENGINE, script=str(DOUBLE.with_suffix("")))
    site = Site(home, Engines(home, Path(sys.executable), engine=double), GatewaySettings())
    yield Stage(site, tmp_path)
    await site.take_down()


async def serving(stage: Stage) -> tuple[str, int, int]:
    """The stable release's weights, the parts that go to green, and how many releases run."""
    now = stage.site.known()
    assert now.state is DeploymentState.LIVE
    return now.stable.weights.name.split("-")[0], await stage.site.gateway.green(), len(now.releases)


async def test_a_good_release_takes_over(stage: Stage) -> None:
    """Shadow first, then step by step; no request is lost; the report tells each step."""
    outcome = await stage.roll("fast", SPEC.model_copy(update={"shadow_requests": 10}))
    assert outcome.end is RolloutEnd.PROMOTED
    assert await serving(stage) == ("fast", 10_000, 1)
    assert [step.share for step in outcome.steps] == [0.2, 0.5, 1.0]
    assert all(step.new.requests >= 15 for step in outcome.steps)
    assert outcome.shadow
    assert (outcome.shadow.requests, outcome.shadow.failed) == (10, 0)
    assert stage.crowd
    assert stage.crowd.failed == []
    text = rollout_markdown(outcome)
    assert text.startswith("**v2 (llama.cpp Q4_1, 1 thread, 8 slots) was promoted over v1")
    assert "| 20% |" in text


@pytest.mark.parametrize(("how", "metric"), [("slow", JudgedMetric.LATENCY), ("failing", JudgedMetric.ERRORS)])
async def test_a_bad_release_is_taken_back(stage: Stage, how: str, metric: JudgedMetric) -> None:
    """In its first step, by the metric that it breaks; nobody waits for the way back."""
    outcome = await stage.roll(how)
    assert outcome.end is RolloutEnd.ROLLED_BACK
    assert outcome.breach
    assert outcome.breach.metric is metric
    assert len(outcome.steps) == 1
    assert await serving(stage) == ("normal", 0, 1)
    assert outcome.back_s is not None
    assert outcome.back_s < 1
    assert stage.crowd
    assert len(stage.crowd.failed) < 20  # half a second of them may still be under way when it is found out
    assert "v1 (llama.cpp Q4_1, 1 thread, 8 slots) serves all requests" in outcome.sentence


async def test_a_release_that_does_not_start_changes_nothing(stage: Stage) -> None:
    """Its last words are in the verdict; nobody noticed."""
    outcome = await stage.roll("dying")
    assert outcome.end is RolloutEnd.ROLLED_BACK
    assert "dies as it starts: no such model" in outcome.sentence
    assert await serving(stage) == ("normal", 0, 1)
    assert stage.crowd
    assert stage.crowd.failed == []


async def test_too_few_requests_do_not_pass(stage: Stage) -> None:
    """A step that is not decided in time goes back."""
    outcome = await stage.roll("fast", SPEC.model_copy(update={"hold_limit_s": 2.0}), rate=3.0)
    assert outcome.end is RolloutEnd.ROLLED_BACK
    assert "undecided does not pass" in outcome.sentence


async def test_an_operator_takes_it_back(stage: Stage) -> None:
    """The mark that `ROLLBACK_DEPLOYMENT` leaves is seen within a second."""
    spec = SPEC.model_copy(update={"requests": 10_000})
    rolling = asyncio.create_task(stage.roll("fast", spec))
    await stage.sharing.wait()
    (stage.site.home.path / TAKE_BACK).touch()
    outcome = await rolling
    assert "an operator took it back" in outcome.sentence
    assert await serving(stage) == ("normal", 0, 1)


async def test_a_stopped_agent_leaves_everybody_at_the_old_release(stage: Stage) -> None:
    """Cancelled in the middle of a step: nobody would watch the new release, so nobody gets it."""
    rolling = asyncio.create_task(stage.roll("fast", SPEC.model_copy(update={"requests": 10_000})))
    await stage.sharing.wait()
    rolling.cancel()
    await asyncio.gather(rolling, return_exceptions=True)
    assert await serving(stage) == ("normal", 0, 1)


@pytest.mark.parametrize(("how", "end"), [("fast", RolloutEnd.PROMOTED), ("normal", RolloutEnd.ROLLED_BACK)])
async def test_a_comparison_changes_only_for_a_reason(stage: Stage, how: str, end: RolloutEnd) -> None:
    """Half of the sessions each: what is faster takes over, what makes no difference does not."""
    versus = VersusSpec(min_effect=0.3, requests=400)
    outcome = await stage.roll(how, SPEC.model_copy(update={"compare": versus, "hold_limit_s": 40.0}), rate=60.0)
    assert outcome.end is end
    effects = [item for item in outcome.steps[0].judgements if item.metric is JudgedMetric.EFFECT]
    assert effects
    assert effects[0].measured.low <= effects[0].measured.value <= effects[0].measured.high
    assert (await serving(stage))[0] == ("fast" if end is RolloutEnd.PROMOTED else "normal")


async def test_replicas_come_and_go_without_a_lost_request(stage: Stage) -> None:
    """From one to three and back, under load; each takes part."""
    first = await stage.site.open("m", await stage.release(None, "normal"))
    async with Crowd(first.url, ["x"], 60).asking() as crowd:
        assert len((await stage.site.scale(3)).stable.replicas) == 3
        await asyncio.sleep(1)
        served = [server.served for server in (await stage.site.gateway.backend(first.route.stable)).servers[:3]]
        assert len((await stage.site.scale(1)).stable.replicas) == 1
        await asyncio.sleep(0.5)
    assert all(served)
    assert crowd.failed == []


async def test_another_agent_goes_on_where_one_died(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any farewell: both releases serve on, and whoever finds the journal looks, goes on, and says so."""

    async def nothing(*_: object) -> None:
        """A killed process does nothing more."""

    with monkeypatch.context() as dying:
        dying.setattr(rollout, "_abandon", nothing)
        rolling = asyncio.create_task(stage.roll("fast", SPEC.model_copy(update={"requests": 10_000})))
        await stage.sharing.wait()
        await asyncio.sleep(1)
        rolling.cancel()
        await asyncio.gather(rolling, return_exceptions=True)
    now = stage.site.known()
    assert (now.state, await stage.site.gateway.green()) == (DeploymentState.ROLLING_OUT, 2000)
    async with Crowd(now.url, ["x"], 40).asking() as crowd:
        outcome = await roll_out(stage.desk(SPEC), "m", lambda before: stage.release(before, "fast"))
    assert (outcome.end, outcome.resumed) == (RolloutEnd.PROMOTED, True)
    assert await serving(stage) == ("fast", 10_000, 1)
    assert crowd.failed == []


async def test_a_killed_supervisor_leaves_everything_serving(stage: Stage) -> None:
    """What it held serves on; the next who looks ends that and starts it anew, at the same address."""
    now = await stage.site.open("m", await stage.release(None, "normal"))
    pid = int((stage.site.home.path / "supervisord.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    async with Crowd(now.url, ["x"], 20).asking() as crowd:
        await asyncio.sleep(0.5)
    assert crowd.failed == []
    assert await stage.site.revive()
    await stage.site.gateway.until_up(now.route.stable, 1)
    async with Crowd(now.url, ["x"], 20).asking() as crowd:
        await asyncio.sleep(0.5)
    assert crowd.failed == []
    assert not await stage.site.revive()
