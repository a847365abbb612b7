"""The commands to a deployment, as a peer sends them to a running agent: look, scale, take back. A real engine."""

import asyncio
from pathlib import Path

import orjson
import pytest
from closing.agent import SMALL, agent
from conftest import CACHE
from deploying.doubles import STRATEGY

from cli.send import Watch, send
from executors.deploy.site import Site
from executors.deploy.supervisor import Supervisor
from handlers.deployment.desk import FOLDER
from handlers.workshop import Workshop
from schemas.deployment import DeploymentList, DeploymentReport, DeploymentState, Route, Slot
from schemas.error import AgentError
from schemas.status import JobState

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]


async def status(url: str) -> DeploymentReport:
    """What DEPLOYMENT_STATUS says of the one deployment."""
    (found,) = DeploymentList.model_validate_json((await send({"cmd": "DEPLOYMENT_STATUS"}, url)).reply).deployments
    return found


async def doors(site: Site) -> str:
    """Whether the rest comes by the doors, as the gateway says."""
    return (await site.gateway.runtime.mapped(site.home.path / "share.map"))["doors"]


async def test_look_scale_and_take_back(site: Site, runs: Path, shipped: Path, tmp_path: Path) -> None:
    """Two releases, one after the other; replicas come and go; the first one serves again; what is wrong is refused."""
    workshop = Workshop(cache=CACHE, model_roots=(), memory=tmp_path, effort=SMALL)
    named = {"deployment": site.home.name}
    try:
        first = await site.open("m", site.release(None, STRATEGY, shipped, shipped))
        async with agent(runs, workshop) as url:
            with pytest.raises(AgentError, match="nothing served test before v1"):
                await send({"cmd": "ROLLBACK_DEPLOYMENT"} | named, url)
            both = await site.add(first, site.release(first, STRATEGY, shipped, shipped), DeploymentState.ROLLING_OUT)
            await site.gateway.send(Route(stable=Slot.BLUE, share=0.5))
            at_once = await send({"cmd": "ROLLBACK_DEPLOYMENT"} | named, url)
            assert await site.gateway.green() == 0
            assert "v1 (llama.cpp Q4_1" in orjson.loads(at_once.reply)["sentence"]
            await site.settle(both, Slot.GREEN)
            assert (await status(url)).deployment.stable.number == 2
            for count in (2, 1):
                sent = await send({"cmd": "SCALE_DEPLOYMENT", "replicas": count} | named, url, watch=Watch())
                assert sent.terminal
                assert sent.terminal.inference_status.state is JobState.COMPLETED
                assert [replica.state for replica in (await status(url)).replicas] == ["UP"] * count
            follow = {"cmd": "SCALE_DEPLOYMENT", "autoscale": {"most": 2, "priority_p95": "5 s"}} | named
            assert (await send(follow, url, watch=Watch())).terminal
            assert await doors(site) == "1"
            said = site.home.logs / "autoscaler.log"
            for _ in range(300):  # a busy machine takes its time to start the program
                running = (await Supervisor(site.home).running())["autoscaler"].state == "RUNNING"
                if running and "waiting for green: 1 are let in" in said.read_text():
                    break
                await asyncio.sleep(0.2)
            else:
                pytest.fail(f"the limiter never told the gateway: {said.read_text()}")
            assert (await site.gateway.backend(Slot.GREEN)).let_in == STRATEGY.max_sequences - 1
            assert (await send({"cmd": "SCALE_DEPLOYMENT", "replicas": 1} | named, url, watch=Watch())).terminal
            assert await doors(site) == "0"
            with pytest.raises(AgentError, match="either replicas or autoscale"):
                await send({"cmd": "SCALE_DEPLOYMENT", "replicas": 1, "autoscale": {}} | named, url)
            back = await send({"cmd": "ROLLBACK_DEPLOYMENT"} | named, url, watch=Watch())
            assert back.terminal
            assert "v1 (llama.cpp Q4_1" in back.terminal.inference_status.detail
            now = await status(url)
            assert (now.deployment.stable.number, now.deployment.state) == (1, DeploymentState.LIVE)
            assert [replica.state for replica in now.replicas] == ["UP"]
            for name in ("../x", "$(id)", "other"):
                with pytest.raises(AgentError):
                    await send({"cmd": "DEPLOYMENT_STATUS", "deployment": name}, url)
    finally:
        await site.take_down()
    assert {path.name for path in (runs / FOLDER).iterdir()} == {"test"}
