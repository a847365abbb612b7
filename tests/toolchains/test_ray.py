"""A release on a Ray of this machine: real engines, scaled by load; run by `make test-toolchains` only."""

import asyncio
import json
import time
from pathlib import Path

import aiohttp
import psutil
import pytest
from clusters.releases import ALL
from conftest import CACHE

from executors import toolchain
from executors.deploy.engines import free_ports
from executors.deploy.ray import RayService, config, serving
from executors.serve.llamacpp import ENGINE, render
from schemas.cluster import ClusterRelease, Document

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
ASKED = {"model": "smol", "max_tokens": 24, "messages": [{"role": "user", "content": "Say hello."}]}
CPUS = 2


@pytest.fixture
def release() -> ClusterRelease:
    """llama.cpp with one thread and two slots a replica, one replica or two."""
    one = ALL["llama.cpp-epyc"]
    strategy = one.strategy.model_copy(update={"threads": 1, "max_sequences": 2})
    return one.model_copy(update={"strategy": strategy, "replicas": 1, "replicas_max": 2})


def engine(python: Path, model: Path, release: ClusterRelease) -> Document:
    """How a replica starts llama.cpp of the same toolchain; its port is the replica's to choose."""
    launch = render(release.strategy, model, "F16").model_copy(update={"alias": "smol"})
    text = json.dumps(launch.model_dump(mode="json", exclude={"port"}))[:-1] + ', "port": {port}}'
    return {"command": [str(python), str(ENGINE.worker)], "standard_input": text, "ready_s": 120.0}


async def ask(session: aiohttp.ClientSession, service: RayService) -> int:
    """The status of one completion, which says something."""
    async with session.post(service.url + "/v1/chat/completions", json=ASKED) as answer:
        body = await answer.json()
        assert body["choices"][0]["message"]["content"].strip()
        return answer.status


class Told:
    """The number of replicas as the service tells it."""

    def __init__(self) -> None:
        self.replicas = 0
        self._changed = asyncio.Event()

    async def follow(self, service: RayService) -> None:
        """Hear of each change until the service ends."""
        async for replicas in service.follow():
            self.replicas = replicas
            self._changed.set()

    async def until(self, wanted: int, limit_s: float) -> None:
        """Wait until that many run."""
        async with asyncio.timeout(limit_s):
            while self.replicas != wanted:
                self._changed.clear()
                await self._changed.wait()


async def test_replicas_follow_the_load_and_nothing_is_left(
    release: ClusterRelease, shipped: Path, tmp_path: Path
) -> None:
    """One replica answers, under load a second joins, no request fails; without load it leaves; nothing stays."""
    tools = await toolchain.install(toolchain.specification("ray"), CACHE, lambda _: None)
    before = {process.pid for process in psutil.process_iter()}
    wanted = config(
        release, engine(tools.python, shipped, release), host="127.0.0.1", port=free_ports(1)[0], up_s=2, down_s=5
    )
    told = Told()
    began = time.monotonic()
    async with serving(wanted, CPUS, tools, tmp_path / "log") as service, aiohttp.ClientSession() as session:
        following = asyncio.create_task(told.follow(service))
        assert await ask(session, service) == 200
        ready_s = time.monotonic() - began
        load = [asyncio.create_task(ask(session, service)) for _ in range(60)]
        await told.until(2, 120)
        assert set(await asyncio.gather(*load)) == {200}
        async with session.post(service.url + "/v1/chat/completions", json=ASKED | {"stream": True}) as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            assert (await answer.text()).rstrip().endswith("data: [DONE]")
        await told.until(1, 120)
        following.cancel()
    assert ready_s < 120
    left = [process.name() for process in psutil.process_iter() if process.pid not in before and _ours(process)]
    assert left == []


def _ours(process: psutil.Process) -> bool:
    """Whether a process belongs to that Ray: others may start processes of their own meanwhile."""
    try:
        words = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return str(CACHE / "toolchains" / "ray") in words or "ray::" in words
