"""Mode deploy as a peer asks for it, on a real agent that is killed in the middle of its rollout."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from conftest import CACHE
from deploying.doubles import STRATEGY

from cli.crowd import Crowd, prompts
from cli.send import Sent, Watch, send
from executors.broker import Broker
from executors.deploy.site import Site
from executors.process import Child
from executors.texts import Texts
from executors.toolchain import Toolchain
from schemas.deployment import DeploymentList, DeploymentState, RolloutEnd, RolloutOutcome
from schemas.error import AgentError
from schemas.plan import StepKind
from schemas.status import InferenceStatus

ROOT = Path(__file__).parents[2]
COMMAND: dict[str, object] = {
    "cmd": "OPTIMIZE_INFERENCE",
    "model": "SmolLM2-135M-Instruct",
    "targets": {"throughput": 0.1},
    "constraints": {"max_quality_loss": 0.5, "hardware": "host"},
    "workload": {"input_tokens": 16, "output_tokens": 4},
    "mode": "deploy",
    "deployment": "test",
    "rollout": {
        "steps": ["20%", 1],
        "requests": 8,
        "hold_limit_s": 120,
        "quality_tokens": 1024,
        "latency_p95": "30s",
        "max_errors": 0.5,
    },
}


@contextlib.asynccontextmanager
async def agent(url: str, runs: Path, models: Path) -> AsyncIterator[Child]:
    """An agent process of its own, with small effort."""
    env = {
        "INFERWRIGHT_CACHE": str(CACHE),
        "INFERWRIGHT_MODELS": str(models),
        "INFERWRIGHT_ACK_WAIT_S": "2",
        "INFERWRIGHT_EFFORT__MAX_THREADS": "1",
        "INFERWRIGHT_EFFORT__REQUESTS": "32",
        "INFERWRIGHT_EFFORT__TRIALS": "2",
        "INFERWRIGHT_EFFORT__LEVEL_LIMIT_S": "10",
        "INFERWRIGHT_EFFORT__JUDGE_TOKENS": "2000",
    }
    argv = [sys.executable, "-m", "cli.main", "serve", "--nats", url, "--runs", str(runs)]
    async with Child(argv, log=runs / "agent.log", env=env, cwd=ROOT) as child:
        while True:
            with contextlib.suppress(AgentError):
                await send({"cmd": "PING"}, url)
                break
            await asyncio.sleep(0.1)
        yield child


async def reply(command: dict[str, object], url: str) -> dict[str, object]:
    """The immediate answer to a command."""
    sent = await send(command, url)
    found: dict[str, object] = orjson.loads(sent.reply)
    return found


@pytest.fixture
def models(shipped: Path, llamacpp: Toolchain, halves: Texts, tmp_path: Path) -> Path:
    """A folder with the one model; tools and texts are there too."""
    assert llamacpp.python.exists()
    assert halves.evaluation.path.exists()
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / shipped.name).symlink_to(shipped)
    return folder


@pytest.mark.real
@pytest.mark.timeout(900)
async def test_a_killed_agents_rollout_ends_in_a_safe_state(
    site: Site, runs: Path, models: Path, shipped: Path, halves: Texts
) -> None:
    """Kill -9 while a share is held: serving goes on, another agent looks, goes on, and says who serves."""
    holding, updates = asyncio.Event(), list[InferenceStatus]()

    def hear(update: InferenceStatus) -> None:
        updates.append(update)
        if "% of the requests to the new release" in update.detail:
            holding.set()

    first = await site.open("SmolLM2-135M-Instruct", site.release(None, STRATEGY, shipped, shipped))
    crowd = Crowd(first.url, prompts(halves.calibration.path.read_text()[:200_000], 200), rate=0.3)
    try:
        async with Broker(models / "broker") as broker, crowd.asking():
            async with agent(broker.url, runs, models) as one:
                following = asyncio.create_task(send(COMMAND, broker.url, watch=Watch(status=hear)))
                await asyncio.wait({asyncio.create_task(holding.wait()), following}, return_when="FIRST_COMPLETED")
                crowd.rate = 2.0
                os.killpg(one.process.pid, signal.SIGKILL)
                await one.wait()
            assert holding.is_set(), updates[-1].detail
            alone = len(crowd.went)
            await asyncio.sleep(5)
            assert len(crowd.went) > alone
            async with agent(broker.url, runs, models):
                sent: Sent = await following
                status = await reply({"cmd": "DEPLOYMENT_STATUS", "deployment": "test"}, broker.url)
        green = await site.gateway.green()
    finally:
        await site.take_down()
    outcome = RolloutOutcome.model_validate_json(next(runs.glob("job-*/rollout.json")).read_bytes())
    promoted = outcome.end is RolloutEnd.PROMOTED
    assert outcome.resumed
    assert [update.state.terminal for update in updates].count(True) == 1
    assert sent.terminal is not None
    assert sent.terminal.inference_status.phase is StepKind.DEPLOYMENT
    assert sent.terminal.inference_status.detail == outcome.sentence
    assert f"{outcome.new if promoted else outcome.old} serves all requests" in outcome.sentence
    assert green == (10_000 if promoted else 0)
    (now,) = DeploymentList.model_validate(status).deployments
    assert now.deployment.state is DeploymentState.LIVE
    assert [replica.state for replica in now.replicas] == ["UP"]
    assert crowd.failed == []
