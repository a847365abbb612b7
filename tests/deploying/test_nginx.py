"""The second renderer on the real NGINX: accepted, splits as told, keeps only answers that are always the same."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
from deploying.doubles import double, releases

from executors.deploy.engines import free_ports
from executors.deploy.home import Home
from executors.deploy.nginx import CacheSettings, config, hit_rate
from executors.process import Child
from schemas.deployment import Deployment, DeploymentState, Route, Slot

ROUTE = Route(stable=Slot.BLUE, share=0.25)


@contextlib.asynccontextmanager
async def nginx(runs: Path, cache: CacheSettings | None = None) -> AsyncIterator[tuple[Home, str]]:
    """NGINX before two doubles; its home and its address."""
    home = Home.under(runs / "deployments", "nginx")
    home.make()
    (home.path / "nginx").mkdir()
    async with double("blue") as blue, double("green") as green:
        port, metrics = free_ports(2)
        deployment = Deployment(
            name="nginx",
            model="m",
            state=DeploymentState.ROLLING_OUT,
            port=port,
            metrics_port=metrics,
            route=ROUTE,
            releases=releases(blue, green),
        )
        file = home.path / "nginx.conf"
        file.write_text(config(home, deployment, ROUTE, cache))
        async with Child(["/usr/sbin/nginx", "-t", "-c", str(file)], log=home.logs / "check") as check:
            assert await check.wait() == 0, check.tail()
        async with Child(["/usr/sbin/nginx", "-c", str(file)], log=home.logs / "out"):
            await asyncio.sleep(0.5)
            yield home, deployment.url


async def ask(session: aiohttp.ClientSession, url: str, temperature: float, **headers: str) -> str:
    """Who answered."""
    body = {"prompt": "the sea", "temperature": temperature}
    async with session.post(url + "/v1/completions", json=body, headers=headers) as answer:
        assert answer.ok
        return await answer.text()


async def test_shares_and_sessions(runs: Path) -> None:
    """A quarter goes to the new release; a session meets the same one; nothing is kept unless it is asked for."""
    async with nginx(runs) as (home, url), aiohttp.ClientSession() as session:
        served = Counter([await ask(session, url, 0) for _ in range(1000)])
        sessions = [{await ask(session, url, 0, **{"Acp-Session": f"u{user}"}) for _ in range(3)} for user in range(40)]
    assert 170 <= served["green"] <= 330
    assert all(len(one) == 1 for one in sessions)
    assert {orjson.loads(line)["cache"] for line in (home.logs / "nginx.log").read_bytes().splitlines()} == {""}


async def test_only_deterministic_answers_are_kept(runs: Path) -> None:
    """The same greedy request is answered once by each release; with any temperature, always anew."""
    async with nginx(runs, CacheSettings()) as (home, url), aiohttp.ClientSession() as session:
        for temperature in (0, 0.7):
            for _ in range(50):
                await ask(session, url, temperature, **{"Acp-Session": "u"})
    rows = [orjson.loads(line) for line in (home.logs / "nginx.log").read_bytes().splitlines()]
    statuses = [row["cache"] for row in rows]
    assert Counter(statuses) == {"MISS": 1, "HIT": 49, "BYPASS": 50}
    assert hit_rate(statuses) == 49 / 50
    assert hit_rate(["BYPASS"]) is None
