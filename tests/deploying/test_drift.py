"""A live release that is worse than it should be is noticed after its rollout, and taken back where that is wanted."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import CACHE
from deploying.doubles import STRATEGY

from cli.crowd import Crowd, prompts
from executors.compress.gguf import quantize
from executors.deploy.drift import drift_of
from executors.deploy.site import Site
from executors.deploy.supervisor import Supervisor
from executors.texts import Texts
from executors.worker import Workbench
from handlers.deployment.look import look
from handlers.deployment.watching import WATCHER, watch
from handlers.workshop import Workshop
from schemas.command import QualityWatch
from schemas.deployment import DeploymentState, Slot
from schemas.measurement import GateVerdict
from schemas.sampling import Drift, DriftState

LIMIT = 0.05
SPEC = QualityWatch(share=1.0, tokens=1024, pause_s=3600, rollback=True)
PATIENCE_S = 400.0


async def until(site: Site, holds: Callable[[Drift], bool]) -> Drift:
    """The watch's words once `holds` of them."""
    give_up = time.monotonic() + PATIENCE_S
    while (found := drift_of(site.home)) is None or not holds(found):
        assert time.monotonic() < give_up, found
        await asyncio.sleep(0.2)
    return found


@contextlib.asynccontextmanager
async def asking(site: Site, crowd: Crowd) -> AsyncIterator[Crowd]:
    """A crowd that asks seldom while a window is judged: the scorer stands still as long as anybody waits."""

    async def ease() -> None:
        while True:
            drift = drift_of(site.home)
            crowd.rate = 2.0 if drift is None or drift.state is DriftState.SAMPLING else 0.2
            await asyncio.sleep(0.2)

    easing = asyncio.create_task(ease())
    try:
        async with crowd.asking():
            yield crowd
    finally:
        easing.cancel()


@dataclass(frozen=True)
class Forms:
    """One model: as it was, as it is shipped, and in Q2_K, which costs it about half more perplexity."""

    base: Path
    shipped: Path
    poor: Path


@pytest.fixture
async def forms(base: Path, shipped: Path, bench: Workbench, tmp_path: Path) -> Forms:
    """The weights."""
    await quantize(base, "Q2_K", tmp_path / "Q2_K.gguf", importance=None, bench=bench)
    return Forms(base, shipped, tmp_path / "Q2_K.gguf")


@pytest.mark.real
@pytest.mark.timeout(1300)
async def test_a_bad_release_that_no_gate_kept_out_is_noticed(
    site: Site, forms: Forms, halves: Texts, tmp_path: Path
) -> None:
    """Put into production without any gate: found out on live prompts, told, and the one before serves."""
    workshop = Workshop(cache=CACHE, model_roots=(), memory=tmp_path / "memory")
    first = await site.open("m", site.release(None, STRATEGY, forms.shipped, forms.base))
    worse = STRATEGY.model_copy(update={"weight_format": "Q2_K"})
    asked = prompts(halves.calibration.path.read_text()[:200_000], 200)
    try:
        both = await site.add(first, site.release(first, worse, forms.poor, forms.base), DeploymentState.ROLLING_OUT)
        await site.settle(both, Slot.GREEN)
        async with asking(site, Crowd(first.url, asked, rate=2.0)) as crowd:
            await watch(site, SPEC, LIMIT, workshop)
            found = await until(site, lambda drift: "serves all requests again" in drift.sentence)
        told = await look(site, site.known())
        await watch(site, None, LIMIT, workshop)
        shares = await site.gateway.runtime.mapped(site.home.path / "share.map")
        running = await Supervisor(site.home).running()
    finally:
        await site.take_down()
    assert found.decision
    assert (found.breached, found.decision.verdict) == ((2,), GateVerdict.FAILED)
    assert found.decision.quality.loss_low > LIMIT
    assert "v2 (llama.cpp Q2_K, 1 thread, 2 slots), window 1, on 5" in found.sentence
    assert told.drift == found
    now = told.deployment
    assert (now.stable.number, now.numbered, now.state) == (1, 2, DeploymentState.LIVE)
    assert [replica.state for replica in told.replicas] == ["UP"]
    assert crowd.failed == []
    assert shares["sampled"] == "0"
    assert WATCHER not in running
    assert not (site.home.path / "prompts").exists()
