"""The real HAProxy: shares, sessions, priorities, limits, samples; engines are doubles, for thousands of requests."""

import asyncio
import contextlib
import hashlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from deploying.doubles import double, releases

from executors.deploy import haproxy
from executors.deploy.engines import free_ports
from executors.deploy.gateway import Gateway
from executors.deploy.haproxy import GatewaySettings
from executors.deploy.home import Home
from executors.deploy.prompts import Asked, prompt_of
from executors.deploy.requests import RequestLog
from executors.deploy.supervisor import Supervisor
from schemas.deployment import Deployment, DeploymentState, Route, Slot
from schemas.error import AgentError


@contextlib.asynccontextmanager
async def gateway(
    runs: Path, *, settings: GatewaySettings | None = None, seconds: float = 0.0
) -> AsyncIterator[tuple[Gateway, str]]:
    """A gateway with a stable and a new release, all requests at the stable one; and its address."""
    home = Home.under(runs / "deployments", "doubles")
    home.make()
    async with double("blue", seconds) as blue, double("green", seconds) as green:
        port, metrics = free_ports(2)
        deployment = Deployment(
            name="doubles",
            model="m",
            state=DeploymentState.ROLLING_OUT,
            port=port,
            metrics_port=metrics,
            route=Route(stable=Slot.BLUE),
            releases=releases(blue, green),
        )
        found = Gateway(home, settings or GatewaySettings())
        await found.start(home.save(deployment))
        try:
            for slot in Slot:
                await found.until_up(slot, 1)
            yield found, deployment.url
        finally:
            await Supervisor(home).shut_down()


async def ask(session: aiohttp.ClientSession, url: str, **headers: str) -> str:
    """Who answered, or the status where nobody did."""
    async with session.post(url + "/v1/completions", json={"prompt": 'hé "q"'}, headers=headers) as answer:
        return await answer.text() if answer.ok else str(answer.status)


async def test_a_share_is_a_share(runs: Path) -> None:
    """None, a quarter, all: within what chance allows; and a session meets the same release every time."""
    async with gateway(runs) as (haproxy_, url), aiohttp.ClientSession() as session:
        for share, low, high in ((0.0, 0, 0), (0.25, 390, 610), (1.0, 2000, 2000)):
            await haproxy_.send(Route(stable=Slot.BLUE, share=share))
            served = Counter([await ask(session, url) for _ in range(2000)])
            assert low <= served["green"] <= high
        await haproxy_.send(Route(stable=Slot.GREEN, share=0.5))
        sticky = [{await ask(session, url, **{"Acp-Session": f"user-{user}"}) for _ in range(5)} for user in range(60)]
    assert all(len(releases) == 1 for releases in sticky)
    assert 15 <= sum(releases == {"blue"} for releases in sticky) <= 45


async def test_a_killed_gateway_comes_back_in_the_safe_state(runs: Path) -> None:
    """SIGKILL at half and half: it is back at once, and everybody is at the stable release."""
    async with gateway(runs) as (haproxy_, url), aiohttp.ClientSession() as session:
        await haproxy_.send(Route(stable=Slot.BLUE, share=0.5))
        before = await haproxy_.runtime.pid()
        os.kill(before, signal.SIGKILL)
        await asyncio.sleep(0.2)
        await haproxy_.ready()
        assert await haproxy_.runtime.pid() != before
        assert await haproxy_.green() == 0
        for slot in Slot:
            await haproxy_.until_up(slot, 1)
        assert {await ask(session, url) for _ in range(50)} == {"blue"}


async def test_the_urgent_go_first(runs: Path) -> None:
    """Twelve wait for two slots; one who comes last with a high priority is served before those who wait."""
    async with gateway(runs, seconds=0.2) as (_, url), aiohttp.ClientSession() as session:
        order: list[str] = []

        async def one(name: str, **headers: str) -> None:
            await ask(session, url, **headers)
            order.append(name)

        waiting = [asyncio.create_task(one("normal")) for _ in range(12)]
        await asyncio.sleep(0.1)
        late = asyncio.create_task(one("high", **{"Acp-Priority": "high"}))
        last = asyncio.create_task(one("low", **{"Acp-Priority": "low"}))
        await asyncio.gather(*waiting, late, last)
    assert order.index("high") <= 4
    assert order.index("low") >= 12  # the last two are served together


async def test_with_keys_a_word_counts_for_nothing(runs: Path) -> None:
    """The class of a request is that of the key it shows, known by its digest; `Acp-Priority` is a claim."""
    key = "Bearer secret"
    digest = hashlib.sha256(key.encode()).hexdigest()
    settings = GatewaySettings(keys={digest: -100})
    async with gateway(runs, settings=settings) as (haproxy_, url), aiohttp.ClientSession() as session:
        log = RequestLog(haproxy_.home.logs / "gateway.log")
        await ask(session, url, Authorization=key)
        await ask(session, url, **{"Acp-Priority": "high"})
        await asyncio.sleep(0.5)
        assert [row.priority for row in log.new()] == [-100, 0]
        assert "secret" not in (haproxy_.home.path / "keys.map").read_text()


async def test_a_full_queue_refuses(runs: Path) -> None:
    """429 beyond the limit, at once, and not to those of a high priority."""
    settings = GatewaySettings(queue_limit=3)
    async with gateway(runs, settings=settings, seconds=0.5) as (_, url), aiohttp.ClientSession() as session:
        first = [asyncio.create_task(ask(session, url)) for _ in range(5)]
        await asyncio.sleep(0.2)
        refused, urgent = await asyncio.gather(ask(session, url), ask(session, url, **{"Acp-Priority": "high"}))
        assert await asyncio.gather(*first) == ["blue"] * 5
    assert (refused, urgent) == ("429", "blue")


async def test_prompts_are_kept_only_while_they_are_sampled(runs: Path) -> None:
    """Quotes and accents come through; without sampling the log holds no word of a prompt."""
    async with gateway(runs) as (haproxy_, url), aiohttp.ClientSession() as session:
        log = RequestLog(haproxy_.home.logs / "gateway.log")
        await ask(session, url)
        await haproxy_.sample(1.0)
        await ask(session, url, **{"Acp-From": "peer"})
        await asyncio.sleep(0.5)
        rows = log.new()
    assert [(prompt_of(row.prompt), row.sender) for row in rows] == [(None, ""), (Asked('hé "q"'), "peer")]


async def test_haproxy_accepts_prefix_affinity(runs: Path) -> None:
    """The option that sends the same beginnings to the same replica is a configuration that HAProxy takes."""
    async with (
        gateway(runs, settings=GatewaySettings(prefix_bytes=256)) as (_, url),
        aiohttp.ClientSession() as session,
    ):
        assert await ask(session, url) == "blue"


@pytest.mark.parametrize("name", ["../x", "a b", "A", "x;y", "", "a" * 40])
def test_a_deployments_name_is_a_name(runs: Path, name: str) -> None:
    """What could leave the folder or mean something to a configuration file is refused."""
    with pytest.raises(AgentError, match="is no deployment's name"):
        Home.under(runs, name)


def test_a_path_that_needs_quoting_is_refused(tmp_path: Path) -> None:
    """Nothing in a configuration file is quoted, so nothing may need it."""
    with pytest.raises(AgentError, match="cannot stand in a configuration file"):
        Home.under(tmp_path / "a b", "x")
    assert haproxy.find()


def test_the_log_is_read_across_a_rotation_and_broken_lines(tmp_path: Path) -> None:
    """A moved file is read to its end, a new one from its beginning; what is cut off or no request is left out."""
    line = (
        b'{"at_s":1.5,"slot":"blue","server":"blue-1","status":200,"queue_ms":0,"first_ms":1,"total_ms":2,"bytes":3,'
        b'"end":"--","priority":0,"sender":"-","prompt":"-"}\n'
    )
    path = tmp_path / "gateway.log"
    path.write_bytes(line + b"Server blue/blue-1 is UP\n" + line[:40])
    log = RequestLog(path)
    assert len(log.new()) == 1
    with path.open("ab") as file:
        file.write(line[40:])
    path.rename(tmp_path / "gateway.log.1")
    path.write_bytes(line + b'{"at_s":1.5\n')
    assert len(log.new()) == 2
    assert log.new() == []
