"""A real headless Chromium for tests of the dashboard, and what it complained of."""

import contextlib
import shutil
from collections.abc import AsyncIterator

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The system's Chromium with an empty profile."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("Chromium is not installed: apt-get install chromium (Debian's package)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield browser
        await browser.close()


@contextlib.asynccontextmanager
async def visit(
    browser: Browser, url: str, *, scheme: str = "light", width: int = 1280, motion: str = "reduce"
) -> AsyncIterator[Page]:
    """A page of a fresh profile; in the end it must not have reported an error or a breach of its policy."""
    context = await browser.new_context(
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion=motion,  # type: ignore[arg-type]
        viewport={"width": width, "height": 900},
    )
    page = await context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    await page.goto(url)
    yield page
    await context.close()
    assert [text for text in complaints if "Failed to load resource" not in text] == []


async def violations(page: Page) -> list[str]:
    """What axe-core finds wrong with the page for people with disabilities, WCAG 2.2 AA and best practices."""
    found = await Axe().run(page)
    return [f"{one['id']}: {[node['target'] for node in one['nodes']]}" for one in found.response["violations"]]
