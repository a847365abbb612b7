"""Kill -9 of every part during a rollout: it ends in one of the two safe states and says which."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from conftest import CACHE
from deploying.doubles import STRATEGY

from cli.crowd import Crowd
from cli.errand import Errand
from executors.deploy.site import Site
from executors.deploy.supervisor import Running, Supervisor
from executors.serve.engine import until_healthy
from executors.toolchain import Toolchain
from handlers.deployment.desk import Desk
from handlers.deployment.rollout import roll_out
from handlers.workshop import Workshop
from schemas.command import RolloutSpec
from schemas.deployment import Deployment, Release, RolloutEnd, RolloutOutcome
from schemas.status import InferenceStatus

pytestmark = [pytest.mark.real]
SPEC = RolloutSpec(
    steps=(0.3, 1.0), requests=12, hold_limit_s=60, judge_quality=False, latency_p95="30s", max_errors=0.5
)
PROMPTS = [f"Chapter {number}. It was a calm day at sea, and the ships" for number in range(50)]


@contextlib.asynccontextmanager
async def rolling(
    site: Site, tools: Toolchain, weights: Path, folder: Path
) -> AsyncIterator[tuple[Crowd, "asyncio.Task[RolloutOutcome]", asyncio.Event]]:
    """A deployment under load with a rollout to the same weights under way; the event says that it has a share."""
    shared = asyncio.Event()

    def tell(status: InferenceStatus) -> None:
        if "% of the requests to" in status.detail:
            shared.set()

    async def make(before: Deployment | None) -> Release:
        return site.release(before, STRATEGY, weights, weights)

    desk = Desk(
        job=Errand("errand", folder, tell),
        site=site,
        tools=tools,
        workshop=Workshop(cache=CACHE, model_roots=(), memory=folder),
        spec=SPEC,
        max_quality_loss=0.02,
        label=STRATEGY.label,
        version="v",
    )
    first = await site.open("m", await make(None))
    try:
        async with Crowd(first.url, PROMPTS, rate=2.0, output_tokens=4).asking() as crowd:
            task = asyncio.create_task(roll_out(desk, "m", make))
            await asyncio.wait({task, asyncio.create_task(shared.wait())}, return_when=asyncio.FIRST_COMPLETED)
            yield crowd, task, shared
    finally:
        await site.take_down()


async def kill(site: Site, name: str) -> Running:
    """SIGKILL a program of the deployment; what it was."""
    was = (await Supervisor(site.home).running())[name]
    os.kill(was.pid, signal.SIGKILL)
    return was


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["green-1", "blue-1"])
async def test_a_killed_engine_costs_time_and_no_request(
    site: Site, llamacpp: Toolchain, shipped: Path, tmp_path: Path, name: str
) -> None:
    """The supervisor starts it again at its port; requests wait for it; the rollout goes on to its end."""
    async with rolling(site, llamacpp, shipped, tmp_path) as (crowd, task, _):
        was = await kill(site, name)
        outcome = await task
        now = site.known()
        running = await Supervisor(site.home).running()
    assert outcome.end is RolloutEnd.PROMOTED
    assert now.stable.label in outcome.sentence
    assert was.pid not in {program.pid for program in running.values()}
    assert crowd.failed == []
    assert len(crowd.went) > 20


@pytest.mark.timeout(240)
async def test_requests_that_meet_an_engine_on_its_way_back_wait_for_it(site: Site, shipped: Path) -> None:
    """It listens before it has its weights and says 503 until then: asked all the time, none of these is passed on."""
    await site.open("m", site.release(None, STRATEGY, shipped, shipped))
    try:
        async with Crowd(site.known().url, PROMPTS, rate=25.0, output_tokens=1).asking() as crowd:
            for _ in range(3):
                was = await kill(site, "blue-1")
                await asyncio.sleep(0.2)
                await until_healthy(site.known().stable.replicas[0].url, 60)
                assert (await Supervisor(site.home).running())["blue-1"].pid != was.pid
    finally:
        await site.take_down()
    assert crowd.failed == []
    assert len(crowd.went) > 30


@pytest.mark.timeout(240)
async def test_a_killed_gateway_comes_back_in_the_safe_state_and_the_share_is_given_again(
    site: Site, llamacpp: Toolchain, shipped: Path, tmp_path: Path
) -> None:
    """Only requests that were open at that moment are lost; the rollout ends with everybody at the new release."""
    async with rolling(site, llamacpp, shipped, tmp_path) as (crowd, task, _):
        await kill(site, "gateway")
        outcome = await task
        green = await site.gateway.green()
    assert outcome.end is RolloutEnd.PROMOTED
    assert green == 10_000
    assert {failure.error.split(":")[0] for failure in crowd.failed} <= {
        "ClientConnectorError",
        "ClientOSError",
        "ServerDisconnectedError",
    }
    assert len(crowd.failed) < 6


@pytest.mark.timeout(240)
async def test_a_killed_prometheus_does_not_stop_a_rollout(
    site: Site, llamacpp: Toolchain, shipped: Path, tmp_path: Path
) -> None:
    """Serving does not need it; it is started again."""
    async with rolling(site, llamacpp, shipped, tmp_path) as (crowd, task, _):
        was = await kill(site, "prometheus")
        outcome = await task
        now = (await Supervisor(site.home).running())["prometheus"]
    assert outcome.end is RolloutEnd.PROMOTED
    assert crowd.failed == []
    assert now.pid not in {0, was.pid}
