import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest
from browser import chromium, violations, visit
from playwright.async_api import Browser, Page, expect
from production import rollout
from showing import Stage
from test_bridge import serving

from acp.settings import Settings
from schemas.plan import Plan

HOSTILE = (
    "<img src=x onerror=\"document.title='owned'\"> \u202egnp.exe <script>document.title='owned'</script> " + "A" * 400
)
F16, Q8 = "llama.cpp F16, 1 thread, 4 slots", "llama.cpp Q8_0, 1 thread, 4 slots"
SLOW = {"latency_p50": 910.0, "latency_p95": 1689.0, "throughput_rps": 0.66, "output_tokens_s": 15.9, "cpu_util": 0.6}
FAST = {"latency_p50": 720.0, "latency_p95": 1333.0, "throughput_rps": 0.78, "output_tokens_s": 18.7, "cpu_util": 0.6}
GATE = {"perplexity_delta": 0.0049, "perplexity_delta_high": 0.0152, "kl": 0.0036, "gate": "passed"}
VERDICT = "Serve llama.cpp Q8_0: every limit was met."


def update(phase: str, optimization: str, detail: str, **more: object) -> dict[str, object]:
    """An update as a job of the closed loop publishes it."""
    return {"state": "running", "phase": phase, "optimization": optimization, "detail": detail} | more


STORY = [
    update("baseline", F16, "measuring the untouched model", progress=0.1),
    update("baseline", F16, "poisson 0.8: 0.66 requests/s", progress=0.2, metrics=SLOW),
    update("optimization", Q8, "making Q8_0.gguf from F16.gguf", progress=0.3),
    update("validation", Q8, "Q8_0 passes the gate of 2.00%", progress=0.6, quality=GATE),
    update("validation", Q8, "poisson 0.8: 0.78 requests/s", progress=0.9, metrics=FAST, cost_per_1k=0.031),
]


class Stand:
    """An agent with its bridge, and a browser that may visit it."""

    def __init__(self, url: str, http: aiohttp.ClientSession, browser: Browser, stage: Stage) -> None:
        self.url = url
        self.browser = browser
        self.stage = stage
        self._http = http

    async def send(self, command: dict[str, Any]) -> str:
        """Send a command that starts a job."""
        async with self._http.post("/acp", json=command) as response:
            assert response.status == 202, await response.text()
            return str((await response.json())["accepted"])

    async def show(self, *updates: dict[str, object], **more: object) -> str:
        """Start a job that publishes `updates`."""
        return await self.send({"cmd": "SHOW", "updates": updates} | more)

    async def state(self, job: str) -> str:
        """How the job stands, as the bridge says."""
        async with self._http.get(f"/jobs/{job}") as response:
            return str((await response.json())["state"])

    async def plan(self, job: str) -> Plan:
        """The plan that the job left."""
        async with self._http.get(f"/jobs/{job}/plan") as response:
            return Plan.model_validate_json(await response.read())


@contextlib.asynccontextmanager
async def standing(settings: Settings, token: str | None = None) -> AsyncIterator[Stand]:
    """All of it."""
    stage = Stage()
    head = {"Authorization": f"Bearer {token}"} if token else {}
    secured = settings.model_copy(update={"concurrent_jobs": 4}) if token is None else guarded(settings, token)
    async with (
        serving(secured, stage.routes) as url,
        aiohttp.ClientSession(url, headers=head) as http,
        chromium() as browser,
    ):
        yield Stand(url, http, browser, stage)


def guarded(settings: Settings, token: str) -> Settings:
    """The settings with a token."""
    return Settings.model_validate(settings.model_dump() | {"http_token": token})


@pytest.fixture
async def stand(settings: Settings) -> AsyncIterator[Stand]:
    """An agent with its bridge and a browser."""
    async with standing(settings) as stand:
        yield stand


def phase(page: Page, name: str) -> Any:
    """One phase of the shown job."""
    return page.get_by_role("list", name="Phases").get_by_role("listitem").filter(has_text=name)


async def test_an_empty_board_says_what_to_do_and_then_shows_the_first_job(stand: Stand, settings: Settings) -> None:
    """The exact command stands there until a job comes, which then needs no reload."""
    async with visit(stand.browser, stand.url) as page:
        await expect(page.get_by_role("heading", name="No job yet")).to_be_visible()
        command = f"inferwright send examples/smollm2.json --nats {settings.nats_urls[0]}"
        await expect(page.get_by_label("Command")).to_have_text(command)
        await page.get_by_role("button", name="Copy").click()
        await expect(page.get_by_role("button", name="Copied")).to_be_visible()
        await stand.show(*STORY[:1], ending="wait")
        await expect(page.get_by_role("heading", name="No job yet")).to_be_hidden()
        await expect(page.get_by_role("heading", name="SHOW")).to_be_visible()


async def test_a_job_is_followed_through_its_phases_to_its_end(stand: Stand) -> None:
    """Phases, progress, figures with unit and evidence, both charts, every update, the verdict and the report."""
    async with visit(stand.browser, stand.url) as page:
        await stand.show(*STORY, seconds=0.6, summary=VERDICT)
        await expect(phase(page, "baseline")).to_contain_text("now")
        await expect(phase(page, "validation")).to_contain_text("to come")
        await expect(page.get_by_role("progressbar")).to_have_js_property("value", 0.2)
        await expect(page.locator("#job-figures")).to_contain_text("1,689 ms measured")
        await expect(phase(page, "validation")).to_contain_text("now")
        await expect(page.locator("#job-state")).to_have_text("completed")
        await expect(phase(page, "validation")).to_contain_text("done")
        await expect(phase(page, "deployment")).to_contain_text("not part")
        await expect(page.locator("#job-detail")).to_have_text(VERDICT)
        await expect(page.locator("#told")).to_have_text("SHOW: completed")
        figures = page.locator("#job-figures")
        for text in ("1,333 ms measured", "0.78 requests/s measured", "+0.49 % measured", "at most +1.52 %", "$0.031"):
            await expect(figures).to_contain_text(text)
        await expect(page.locator("#job-charts figure")).to_have_count(2)
        described = page.locator("#job-charts figure:first-child desc")
        await expect(described).to_contain_text(f"{F16}: 1,689 ms measured after")
        await expect(page.locator("#job-updates li")).to_have_count(6)
        await page.get_by_role("button", name="Report").click()
        await expect(page.get_by_role("dialog")).to_contain_text(f"summary: {VERDICT}")


async def test_what_a_job_says_is_text(stand: Stand) -> None:
    """Markup stays letters, marks that turn text are gone, nothing runs, and a long word widens nothing."""
    async with visit(stand.browser, stand.url, width=360) as page:
        await stand.show(update("baseline", HOSTILE, HOSTILE), ending="fail", summary=HOSTILE)
        await expect(page.locator("#job-state")).to_have_text("failed")
        await expect(page.locator("#job-detail")).to_contain_text("<img src=x onerror")
        text = await page.locator("body").inner_text()
        assert "\u202e" not in text
        assert await page.locator("img").count() == 0
        assert await page.title() == "inferwright"
        assert await page.evaluate("document.documentElement.scrollWidth") == 360


async def test_a_failure_is_one_sentence(stand: Stand) -> None:
    """The error's code and its sentence, and the phase in which it happened."""
    async with visit(stand.browser, stand.url) as page:
        await stand.show(*STORY[:3], ending="fail", summary="llama-server ended with exit status 1: no memory")
        await expect(page.locator("#job-detail")).to_have_text(
            "tool_failed: llama-server ended with exit status 1: no memory"
        )
        await expect(phase(page, "optimization")).to_contain_text("failed")
        await expect(phase(page, "validation")).to_contain_text("not reached")


async def test_everything_can_be_done_with_a_keyboard(stand: Stand) -> None:
    """Skip link, choosing a job, refusing to cancel by Escape, cancelling, the theme: focus is seen at each."""
    first = await stand.show(*STORY[:1], ending="wait")
    second = await stand.show(*STORY[:2], ending="wait")
    async with visit(stand.browser, stand.url) as page:
        await expect(page.locator("#jobs a")).to_have_count(2)
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the jobs")).to_be_focused()
        await expect(page.get_by_role("link", name="Skip to the jobs")).to_be_in_viewport()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("main")).to_be_focused()
        await page.keyboard.press("Tab")
        await expect(page.locator(f"#jobs a[href='#job={second}']")).to_be_focused()
        await page.keyboard.press("Tab")
        assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        await page.keyboard.press("Enter")
        await expect(page.locator("#job-about")).to_contain_text(first)
        await expect(page.locator("#job-title")).to_be_focused()
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("button", name="Cancel job")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Keep it running")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_be_hidden()
        assert await stand.state(first) == "running"
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.locator("#job-state")).to_have_text("cancelled")
        await expect(page.locator(f"#jobs a[href='#job={first}']")).to_have_attribute("aria-current", "true")

    assert (await stand.state(first), await stand.state(second)) == ("cancelled", "running")


async def test_the_scheme_follows_the_system_until_somebody_chooses(stand: Stand) -> None:
    """Dark and light by the system's preference; the button's choice is kept over a reload."""
    backdrop = "getComputedStyle(document.body).backgroundColor"
    async with visit(stand.browser, stand.url, scheme="dark") as page:
        dark = await page.evaluate(backdrop)
        await page.get_by_role("button", name="Theme: system").click()
        await page.get_by_role("button", name="Theme: dark").click()
        light = await page.evaluate(backdrop)
        await page.reload()
        await expect(page.get_by_role("button", name="Theme: light")).to_be_visible()
        assert await page.evaluate(backdrop) == light != dark
    async with visit(stand.browser, stand.url) as page:
        assert await page.evaluate(backdrop) == light


async def test_the_last_plan_is_drawn_and_written(stand: Stand) -> None:
    """Both charts of its frontier, and a table with every strategy in them, each number with its evidence."""
    command = orjson.loads((Path(__file__).parents[2] / "examples" / "llama-3-70b.json").read_bytes())
    relaxed = {"targets": {"latency_p95": 8000, "throughput": 5}, "mode": "run"}
    async with visit(stand.browser, stand.url) as page:
        job = await stand.send(command | relaxed)
        await expect(page.get_by_role("heading", name="Last plan")).to_be_visible(timeout=30_000)
        plan = await stand.plan(job)
        await expect(page.locator("#plan-verdict")).to_have_text(plan.verdict)
        await expect(page.locator("#plan-charts figure")).to_have_count(2)
        await page.get_by_text("The same as a table").click()
        rows = page.locator("#plan-table tbody tr")
        strategies = {candidate.strategy for candidate in (*plan.chosen, *plan.frontier)}
        await expect(rows).to_have_count(len(strategies) + 1)
        best = plan.chosen[0]
        await expect(rows.first).to_contain_text(best.strategy.label)
        await expect(rows.first).to_contain_text(str(best.prediction.latency_p95_ms.evidence))
        marks = await page.locator("#plan-charts figure:first-child .mark").all_text_contents()

    assert sorted(", ".join(marks).split(", ")) == [str(number + 1) for number in range(len(plan.chosen))]


async def test_deployments_move_as_they_are_rolled_out(stand: Stand) -> None:
    """Shares, latency and throughput now, the gate's quality, the last verdict; then a larger share."""
    stand.stage.deployments = rollout(0.25)
    async with visit(stand.browser, stand.url) as page:
        releases = page.get_by_role("list", name="Releases and their shares of the requests").get_by_role("listitem")
        await expect(releases).to_have_count(2)
        for text in (
            "v3 (llama.cpp Q8_0, 1 thread, 4 slots)",
            "25 %",
            "p95 812 ms measured",
            "0.137 requests/s measured",
        ):
            await expect(releases.nth(1)).to_contain_text(text)
        await expect(releases.nth(1)).to_contain_text("perplexity +0.49 %, at most +1.52 %")
        await expect(page.get_by_role("heading", name="Last change: rolled back")).to_be_visible()
        judged = page.get_by_role("list", name="Verdicts of its last step").get_by_role("listitem")
        await expect(judged.first).to_contain_text("31.00 % measured")
        await expect(judged.first).to_contain_text("failed")
        stand.stage.deployments = rollout(0.5, p95=850.0)
        await expect(releases.nth(1)).to_contain_text("50 %")
        await expect(page.locator(".deployment figure")).to_have_count(2)
        width = "document.querySelectorAll('.bar > span')[1].getBoundingClientRect().width"
        half = "document.querySelectorAll('.bar')[1].clientWidth / 2"
        assert await page.evaluate(f"Math.abs({width} - {half}) < 1")


async def test_what_is_watched_after_a_rollout_is_shown(stand: Stand) -> None:
    """The error budget's burn, the live prompts' verdict, and each sender's cost, which stays open as figures move."""
    stand.stage.deployments = rollout(0.25)
    async with visit(stand.browser, stand.url) as page:
        releases = page.get_by_role("list", name="Releases and their shares of the requests").get_by_role("listitem")
        burnt = "burn rate of the 1 % error budget 2.44 in the last 5 min, 2.44 in the last 1 h measured"
        await expect(releases.nth(1)).to_contain_text(burnt)
        await expect(page.get_by_role("heading", name="Quality since the rollout: passed")).to_be_visible()
        deployment = page.locator(".deployment")
        await expect(deployment).to_contain_text("perplexity +0.49 % (\u22120.54 % to +1.52 %), limit +2.00 % measured")
        await expect(deployment).to_contain_text("52 of 61 sampled prompts used; a breach is told, and changes nothing")
        await expect(deployment).to_contain_text("94 % of 52 requests without chance answered from it")
        await page.get_by_text("Cost by sender in the last hour").click()
        rows = page.get_by_role("table", name="Cost by sender and release").get_by_role("row")
        await expect(rows).to_have_count(4)
        for text in ("ai-ml-engineer", "900", "610 s", "$0.023 assumed"):
            await expect(rows.nth(1)).to_contain_text(text)
        await expect(rows.nth(2)).to_contain_text("not named")
        stand.stage.deployments = rollout(0.5)
        await expect(releases.nth(1)).to_contain_text("50 %")
        await expect(rows.nth(1)).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 360)])
async def test_nothing_keeps_people_with_disabilities_out(stand: Stand, scheme: str, width: int) -> None:
    """axe-core finds no violation: empty, running, finished with plan and deployments, the report; no side scroll."""
    command = orjson.loads((Path(__file__).parents[2] / "examples" / "llama-3-70b.json").read_bytes())
    async with visit(stand.browser, stand.url, scheme=scheme, width=width) as page:
        await expect(page.get_by_role("heading", name="No job yet")).to_be_visible()
        found = {"empty": await violations(page)}
        stand.stage.deployments = rollout()
        await stand.send(command | {"mode": "run"})
        await stand.show(*STORY, summary=VERDICT)
        await stand.show(*STORY[:2], ending="fail", summary="no memory")
        await stand.show(*STORY[:4], ending="wait")
        await expect(page.get_by_role("heading", name="Last plan")).to_be_visible(timeout=30_000)
        await expect(page.locator("#job-figures")).to_contain_text("+0.49 %")
        await page.get_by_text("The same as a table").click()
        await page.get_by_text("Cost by sender in the last hour").click()
        found["running"] = await violations(page)
        await page.locator("#jobs a").filter(has_text="completed").click()
        await expect(page.locator("#job-charts figure")).to_have_count(2)
        found["finished"] = await violations(page)
        assert await page.evaluate("document.documentElement.scrollWidth") == width
        await page.get_by_role("button", name="Report").click()
        found["report"] = await violations(page)

    assert found == {"empty": [], "running": [], "finished": [], "report": []}


async def test_a_token_is_asked_for_and_kept_for_the_tab(settings: Settings) -> None:
    """Nothing is shown without it; a wrong one is said to be wrong; the right one stays over a reload."""
    async with standing(settings, token="right") as stand:  # noqa: S106
        await stand.show(*STORY[:1], ending="wait")
        async with visit(stand.browser, stand.url) as page:
            field = page.get_by_label("Token", exact=True)
            await expect(field).to_be_focused()
            await expect(page.locator("#board")).to_be_hidden()
            assert await violations(page) == []
            await page.keyboard.type("wrong")
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("alert")).to_have_text("That is not the agent's token.")
            await expect(field).to_be_focused()
            await page.keyboard.type("right")
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("heading", name="SHOW")).to_be_visible()
            await page.reload()
            await expect(page.get_by_role("heading", name="SHOW")).to_be_visible()
            await page.get_by_role("button", name="Cancel job").click()
            await page.get_by_role("dialog").get_by_role("button", name="Cancel job").click()
            await expect(page.locator("#job-state")).to_have_text("cancelled")


async def test_the_page_outlives_the_agent(settings: Settings) -> None:
    """What was told stays, with one sentence; when the agent is back, the page goes on by itself."""
    stage = Stage()
    async with chromium() as browser:
        async with serving(settings, stage.routes) as url:
            async with aiohttp.ClientSession(url) as http, http.post("/acp", json={"cmd": "SHOW", "updates": []}):
                pass
            page = await browser.new_page()
            await page.goto(url)
            await expect(page.locator("#job-state")).to_have_text("completed")
        await expect(page.get_by_role("alert")).to_contain_text("This page tries again by itself.")
        await expect(page.locator("#job-state")).to_be_visible()
        async with serving(settings, stage.routes, port=urlsplit(url).port or 0):
            await expect(page.get_by_role("status")).to_have_text("live", timeout=20_000)
            await expect(page.get_by_role("alert")).to_be_hidden()
            async with aiohttp.request(
                "POST", f"{url}/acp", json={"cmd": "SHOW", "updates": STORY[:1], "ending": "wait"}
            ):
                await expect(page.locator("#jobs a")).to_have_count(2)
