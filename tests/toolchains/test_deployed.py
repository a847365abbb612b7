"""Engines other than llama.cpp in production, behind the same gateway; run by `make test-toolchains` only."""

from dataclasses import replace
from pathlib import Path

import pytest
from closing.agent import SMALL, agent
from conftest import CACHE
from deploying.conftest import runs, site  # noqa: F401 - fixtures
from deploying.doubles import STRATEGY
from deploying.test_drift import until

from cli.crowd import Crowd, prompts
from cli.send import Watch, send
from executors.deploy.site import Site
from executors.texts import Texts
from executors.toolchain import Toolchain
from handlers.workshop import Workshop
from schemas.deployment import DeploymentList, DeploymentState, RolloutEnd, RolloutOutcome
from schemas.error import AgentError, ErrorCode
from schemas.measurement import GateVerdict
from schemas.plan import StepKind
from schemas.sampling import DriftState
from schemas.status import InferenceStatus

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
COMMAND: dict[str, object] = {
    "cmd": "OPTIMIZE_INFERENCE",
    "model": "smollm2-135m-instruct",
    "targets": {"throughput": 0.1},
    "constraints": {"max_quality_loss": 0.1, "hardware": "host", "engines": ["openvino"]},
    "workload": {"input_tokens": 16, "output_tokens": 4},
    "mode": "deploy",
    "deployment": "test",
    "rollout": {
        "steps": ["30%", 1],
        "requests": 6,
        "hold_limit_s": 400,
        "quality_tokens": 1024,
        "latency_p95": "60s",
        "max_errors": 0.5,
        "watch": {"share": 1.0, "tokens": 1024, "pause_s": 3600},
    },
}


async def test_openvino_takes_over_from_llama_cpp(
    site: Site,  # noqa: F811 - the fixture
    shipped: Path,
    halves: Texts,
    tmp_path: Path,
) -> None:
    """Planned, made, judged, rolled out beside llama.cpp under load without a lost request, and watched afterwards."""
    workshop = Workshop(
        cache=CACHE, model_roots=(shipped.parent,), memory=tmp_path / "memory", effort=replace(SMALL, trials=1)
    )
    first = await site.open("m", site.release(None, STRATEGY, shipped, shipped))
    asked = prompts(halves.calibration.path.read_text()[:200_000], 200)
    jobs = site.home.path.parents[1]
    try:
        async with agent(jobs, workshop) as url, Crowd(first.url, asked, rate=0.1).asking() as crowd:

            def hear(update: InferenceStatus) -> None:
                crowd.rate = 1.5 if update.phase is StepKind.DEPLOYMENT else 0.1

            sent = await send(COMMAND, url, watch=Watch(status=hear))
            assert sent.terminal
            assert "serves all requests" in sent.terminal.inference_status.detail
            drift = await until(site, lambda drift: drift.state is DriftState.RESTING)
            told = await send({"cmd": "DEPLOYMENT_STATUS", "deployment": "test"}, url)
        scaled = await replace(site, engines=replace(site.engines, cache=CACHE)).scale(2)
    finally:
        await site.take_down()
    outcome = RolloutOutcome.model_validate_json(next(jobs.glob("job-*/rollout.json")).read_bytes())
    (now,) = DeploymentList.model_validate_json(told.reply).deployments
    assert (outcome.end, crowd.failed) == (RolloutEnd.PROMOTED, [])
    assert outcome.quality
    assert outcome.quality.verdict is GateVerdict.PASSED
    assert outcome.new.startswith("v2 (openvino INT8")
    assert (now.deployment.state, now.deployment.stable.strategy.engine) == (DeploymentState.LIVE, "openvino")
    assert [replica.state for replica in now.replicas] == ["UP"]
    assert drift.decision
    assert drift.decision.verdict is GateVerdict.PASSED
    assert len(scaled.stable.replicas) == 2


@pytest.mark.parametrize("name", ["tensorrt-llm", "sglang"])
async def test_an_engine_that_nothing_here_starts_is_refused(
    site: Site,  # noqa: F811 - the fixture
    llamacpp: Toolchain,
    shipped: Path,
    name: str,
) -> None:
    """With its name and those there are; what serves is left as it is."""
    assert llamacpp.python.exists()
    first = await site.open("m", site.release(None, STRATEGY, shipped, shipped))
    try:
        release = site.release(first, STRATEGY.model_copy(update={"engine": name}), shipped, shipped)
        with pytest.raises(AgentError, match=f"{name} is not run here") as caught:
            await site.add(first, release, DeploymentState.ROLLING_OUT)
        _, left = await site.settle(site.both(first, release, DeploymentState.ROLLING_OUT), first.route.stable)
    finally:
        await site.take_down()
    assert caught.value.code is ErrorCode.NOT_AVAILABLE
    assert left.drained_s < 60
