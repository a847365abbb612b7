"""The dashboard beside a real HAProxy: what a person sees of a rollout. Engines are doubles."""

from pathlib import Path

import aiohttp
import pytest
from browser import chromium, visit
from deploying.doubles import STRATEGY
from playwright.async_api import expect
from rehearsal import routes
from test_bridge import serving

from acp.settings import Settings
from executors.broker import Broker
from schemas.deployment import Route, Slot
from tests.deploying.test_gateway import ask, gateway


@pytest.mark.usefixtures("llamacpp")
async def test_the_dashboard_shows_what_the_gateway_measures(runs: Path) -> None:
    """Both releases are up; requests, failures and p95 are those of its log, and move with the next requests."""
    async with Broker(runs / "broker") as broker, gateway(runs) as (haproxy_, url):
        settings = Settings(nats_urls=(broker.url,), runs_dir=runs)
        async with (
            serving(settings, routes) as bridge,
            aiohttp.ClientSession() as session,
            chromium() as browser,
            visit(browser, bridge) as page,
        ):
            await expect(page.get_by_role("heading", name="doubles")).to_be_visible()
            releases = page.get_by_role("list", name="Releases and their shares of the requests").get_by_role(
                "listitem"
            )
            await expect(releases).to_have_count(2)
            await expect(releases.first).to_contain_text(f"v1 ({STRATEGY.label})")
            await expect(releases.first).to_contain_text("100 %")
            for _ in range(40):
                assert await ask(session, url) == "blue"
            await expect(releases.first).to_contain_text("0 of 40 requests failed in the last 5 min")
            await expect(releases.first).to_contain_text("1 of 1 replica up")
            await expect(releases.first).to_contain_text("p95")
            await expect(releases.nth(1)).to_contain_text("0 of 0 requests failed")
            await haproxy_.send(Route(stable=Slot.GREEN))
            for _ in range(7):
                assert await ask(session, url) == "green"
            await expect(releases.nth(1)).to_contain_text("0 of 7 requests failed in the last 5 min")
            await expect(page.locator(".deployment figure")).to_have_count(2)
