"""The real NGINX: in the gateway's place it splits as told; before it, it keeps answers without chance in them."""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest
from deploying.doubles import double, releases

from acp.bridge.metrics import ProductionCollector
from cli.answers import configuration, switch
from executors.deploy import exposure
from executors.deploy.answers import PROGRAM, counted
from executors.deploy.engines import Engines, free_ports
from executors.deploy.exposure import Exposure
from executors.deploy.gateway import Gateway
from executors.deploy.haproxy import GatewaySettings
from executors.deploy.home import Home
from executors.deploy.nginx import find, instead
from executors.deploy.site import Site
from executors.deploy.supervisor import Supervisor
from executors.process import Child
from schemas.deployment import AnswerCache, Deployment, DeploymentState, Route, Slot

GREEDY: dict[str, object] = {"prompt": "the sea", "temperature": 0}


@contextlib.asynccontextmanager
async def standing(runs: Path) -> AsyncIterator[tuple[Site, Deployment]]:
    """A gateway before two doubles, all requests at the stable one, and a cache before the gateway."""
    home = Home.under(runs / "deployments", "nginx")
    home.make()
    async with double("blue") as blue, double("green") as green:
        port, metrics, cached = free_ports(3)
        both = releases(blue, green)
        now = Deployment(
            name="nginx",
            model="m",
            state=DeploymentState.LIVE,
            port=port,
            metrics_port=metrics,
            route=Route(stable=Slot.BLUE),
            releases=both[:1],
        )
        site = Site(home, Engines(home, Path("/none")), GatewaySettings())
        await Gateway(home, site.settings).start(home.save(now))
        await site.gateway.until_up(Slot.BLUE, 1)
        try:
            yield site, (await site.keep_answers(AnswerCache(port=cached))).model_copy(update={"releases": both})
        finally:
            await Supervisor(home).shut_down()


async def ask(session: aiohttp.ClientSession, url: str, body: object = GREEDY, **headers: str) -> str:
    """Who answered."""
    async with session.post(url + "/v1/completions", json=body, headers=headers) as answer:
        assert answer.ok
        return await answer.text()


async def test_in_the_gateways_place(runs: Path) -> None:
    """A quarter goes to the new release; a session meets the same one; nothing is kept."""
    home = Home.under(runs / "deployments", "nginx")
    home.make()
    (home.path / "nginx").mkdir()
    async with double("blue") as blue, double("green") as green, aiohttp.ClientSession() as session:
        port, metrics = free_ports(2)
        deployment = Deployment(
            name="nginx",
            model="m",
            state=DeploymentState.ROLLING_OUT,
            port=port,
            metrics_port=metrics,
            route=Route(stable=Slot.BLUE, share=0.25),
            releases=releases(blue, green),
        )
        file = home.path / "nginx.conf"
        file.write_text(instead(home, deployment))
        async with Child([find(), "-e", "stderr", "-c", str(file)], log=home.logs / "rows"):
            await asyncio.sleep(0.5)
            url = deployment.url
            served = Counter([await ask(session, url) for _ in range(1000)])
            sessions = [{await ask(session, url, **{"Acp-Session": f"u{at}"}) for _ in range(3)} for at in range(40)]
    assert 170 <= served["green"] <= 330
    assert all(len(one) == 1 for one in sessions)
    rows = [line for line in (home.logs / "rows").read_bytes().splitlines() if line.startswith(b"{")]
    assert {orjson.loads(line)["cache"] for line in rows} == {""}


async def test_only_answers_without_chance_are_kept(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Identical and greedy: one of fifty is made. Any chance, another prompt, another key: each is made anew."""
    monkeypatch.setattr(exposure, "FRESH_S", 0.0)
    made: list[dict[str, object]] = [
        {"prompt": "the sea", "temperature": 0.7},
        {"prompt": "the sea"},
        {"prompt": "the sea", "temperature": 0.7, "stream": True},
        {"prompt": "the sea", "temperature": 0.01},
        {"prompt": 'say "temperature": 0, please', "temperature": 1},
        {"temperature": 0, "prompt": "x", "more": {"temperature": 1}},
    ]
    async with standing(runs) as (site, now), aiohttp.ClientSession() as session:
        assert now.cache
        url, served = now.cache.url, site.gateway.backend
        for _ in range(50):
            assert await ask(session, url) == "blue"
        assert (await served(Slot.BLUE)).served == 1
        for body in made:
            for _ in range(2):
                await ask(session, url, body)
        assert (await served(Slot.BLUE)).served == 1 + 2 * len(made)
        await ask(session, url, GREEDY | {"prompt": "other"})
        await ask(session, url, Authorization="Bearer other")
        assert (await served(Slot.BLUE)).served == 3 + 2 * len(made)
        await ask(session, now.url)
        assert (await served(Slot.BLUE)).served == 4 + 2 * len(made)
        await asyncio.sleep(0.3)
        told = counted(site.home, now)
        exposed = Exposure(runs / "deployments", runs).read()
        samples = {
            sample.labels["outcome"]: sample.value
            for family in ProductionCollector(exposed).collect()
            for sample in family.samples
            if sample.name == "inferwright_cached_requests_total"
        }
    assert told
    assert (told.hit, told.miss, told.passed) == (49, 3, 2 * len(made))
    assert told.hit_rate == 49 / 52
    assert samples == {"hit": 49, "miss": 3, "passed": 2 * len(made)}


async def test_no_release_answers_from_anothers_cache(runs: Path) -> None:
    """Nothing is kept or given while a release is on trial; once it is promoted, what the old one said is gone."""
    async with standing(runs) as (site, both), aiohttp.ClientSession() as session:
        assert both.cache
        url, folder = both.cache.url, site.home.path / "nginx"
        assert {await ask(session, url) for _ in range(3)} == {"blue"}
        on_trial = both.model_copy(update={"state": DeploymentState.ROLLING_OUT})
        await site.gateway.write(site.keep(on_trial))
        await site.answers.follow(on_trial)
        assert list(folder.glob("answers-v*")) == []
        await site.gateway.place(Slot.GREEN, both.in_slot(Slot.GREEN))
        await site.gateway.until_up(Slot.GREEN, 1)
        await site.gateway.send(Route(stable=Slot.BLUE, share=0.5))
        assert {await ask(session, url) for _ in range(40)} == {"blue", "green"}
        settled, _ = await site.settle(on_trial, Slot.GREEN)
        assert {await ask(session, url) for _ in range(20)} == {"green"}
        assert [path.name for path in folder.glob("answers-v*")] == ["answers-v2"]
        assert (await site.gateway.backend(Slot.GREEN)).served < 40
        assert settled.cache == both.cache
        gone = await site.keep_answers(None)
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(session, url)
        assert (gone.cache, folder.exists()) == (None, False)
        assert await ask(session, gone.url) == "green"
        (folder / "answers-v2").mkdir(parents=True)
        again = await site.keep_answers(both.cache)
        before = (await site.gateway.backend(Slot.GREEN)).served
        assert {await ask(session, url) for _ in range(5)} == {"green"}
        assert (await site.gateway.backend(Slot.GREEN)).served == before + 1
        assert again.cache == both.cache


async def test_a_killed_cache_comes_back(runs: Path) -> None:
    """Its supervisor starts it again at its address, and it still knows what it kept."""
    async with standing(runs) as (site, now), aiohttp.ClientSession() as session:
        assert now.cache
        await ask(session, now.cache.url)
        os.kill((await Supervisor(site.home).running())[PROGRAM].pid, signal.SIGKILL)
        for _ in range(100):
            with contextlib.suppress(aiohttp.ClientConnectionError):
                assert await ask(session, now.cache.url) == "blue"
                break
            await asyncio.sleep(0.1)
        assert (await site.gateway.backend(Slot.BLUE)).served == 1


async def test_streams_pass_token_by_token(runs: Path) -> None:
    """The gateway marks them, so that a cache before it holds none back and keeps none."""
    async with standing(runs) as (site, now), aiohttp.ClientSession() as session:
        assert now.cache
        body = GREEDY | {"stream": True}
        for url, told in ((now.url, "no"), (now.cache.url, None)):
            for _ in range(2):
                async with session.post(url + "/v1/completions?stream", json=body) as answer:
                    assert answer.headers.get("X-Accel-Buffering") == told
        assert (await site.gateway.backend(Slot.BLUE)).served == 4


@pytest.mark.usefixtures("llamacpp")
async def test_the_command_switches_it(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On with its size, at an address that it tells and keeps; printed for NGINX in the gateway's place; off."""
    async with standing(runs) as (site, now), aiohttp.ClientSession() as session:
        assert now.cache
        await switch("nginx", runs, (8, 5))
        changed = site.known().cache
        assert changed == AnswerCache(port=now.cache.port, megabytes=8, minutes=5)
        assert now.cache.url in capsys.readouterr().out
        assert {await ask(session, now.cache.url) for _ in range(3)} == {"blue"}
        configuration("nginx", runs)
        assert f"listen 127.0.0.1:{now.port};" in capsys.readouterr().out
        await switch("nginx", runs, None)
        assert site.known().cache is None
