import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from nats.aio.client import Client
from processes import NAMES, signal_group, until
from production import rollout
from showing import Stage
from test_bridge import serving

from acp.bridge import live
from acp.settings import Settings
from executors.broker import Broker
from schemas.board import Board
from schemas.plan import Plan

STEP = {"state": "running", "phase": "baseline", "optimization": "llama.cpp F16", "detail": "measuring"}


class Watch:
    """A reader of `/live`: all boards so far, taken together."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.boards: list[Board] = []
        self.last = ""

    async def until(self, holds: "Callable[[Watch], bool]") -> None:
        """Read on until `holds`."""
        async with asyncio.timeout(20):
            while not holds(self):
                await self._board()

    async def ended(self) -> None:
        """Read on until the agent ends the stream."""
        async with asyncio.timeout(20):
            await self._response.read()

    async def _board(self) -> None:
        lines: dict[str, str] = {}
        while (line := (await self._response.content.readline()).decode().rstrip("\n")) or not lines:
            name, _, value = line.partition(": ")
            lines[name] = value
        assert lines["event"] == "board"
        self.last = lines["id"]
        self.boards.append(Board.model_validate_json(lines["data"]))

    @property
    def jobs(self) -> dict[str, str]:
        """The last state of each job."""
        return {card.job.job: card.job.state.value for board in self.boards for card in board.jobs}

    def updates(self, job: str) -> list[int]:
        """The numbers of a job's updates, as they came."""
        return [timed.seq for board in self.boards for timed in board.updates if timed.job == job]


@contextlib.asynccontextmanager
async def watching(http: aiohttp.ClientSession, last: str = "") -> AsyncIterator[Watch]:
    """An open `/live`, its first board read."""
    async with http.get("/live", headers={"Last-Event-ID": last} if last else {}) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        watch = Watch(response)
        await watch.until(lambda watch: len(watch.boards) == 1)
        yield watch


@pytest.fixture
def stage() -> Stage:
    """What is in production: nothing at first."""
    return Stage()


@pytest.fixture
async def http(settings: Settings, stage: Stage) -> AsyncIterator[aiohttp.ClientSession]:
    """A session against the bridge of an agent in this process."""
    async with serving(settings, stage.routes) as url, aiohttp.ClientSession(url) as session:
        yield session


async def send(http: aiohttp.ClientSession, command: dict[str, Any]) -> str:
    """Send a command that starts a job."""
    async with http.post("/acp", json=command) as response:
        assert response.status == 202, await response.text()
        return str((await response.json())["accepted"])


async def test_a_reader_is_told_of_a_job_from_its_acceptance_to_its_end(http: aiohttp.ClientSession) -> None:
    """The first board is empty; then cards and numbered updates; a second reader gets all of it at once."""
    async with watching(http) as watch:
        assert (watch.boards[0].ready, watch.boards[0].jobs, watch.boards[0].updates) == (True, (), ())
        job = await send(http, {"cmd": "SHOW", "updates": [STEP] * 3})
        await watch.until(lambda watch: len(watch.updates(job)) == 4 and watch.jobs[job] == "completed")
    async with watching(http) as late:
        first = late.boards[0]

    assert watch.updates(job) == [1, 2, 3, 4]
    assert [card.job.job for card in first.jobs] == [job]
    assert [timed.update.inference_status.detail for timed in first.updates] == ["measuring"] * 3 + ["shown"]


async def test_a_reader_resumes_where_it_broke_off(http: aiohttp.ClientSession) -> None:
    """After Last-Event-ID only what is new comes; an id that the broker never gave brings everything."""
    first = await send(http, {"cmd": "SHOW", "updates": [STEP]})
    async with watching(http) as watch:
        await watch.until(lambda watch: watch.jobs.get(first) == "completed" and len(watch.updates(first)) == 2)
    second = await send(http, {"cmd": "SHOW", "updates": [STEP]})
    async with watching(http, watch.last) as resumed:
        await resumed.until(lambda watch: watch.jobs.get(second) == "completed" and len(watch.updates(second)) == 2)
    for nonsense in ("999999999-999999999", "x", "-1--1"):
        async with watching(http, nonsense) as whole:
            assert set(whole.jobs) == {first, second}

    assert (set(resumed.jobs), resumed.updates(first)) == ({second}, [])


async def test_all_readers_share_one_subscription_to_each_stream(http: aiohttp.ClientSession, client: Client) -> None:
    """Twenty readers cost the broker what one does, and none once they have gone."""

    async def consumers() -> list[int]:
        js = client.jetstream()
        streams = (NAMES.stream("status"), f"KV_{NAMES.bucket}")
        return [sum(bool(one.push_bound) for one in await js.consumers_info(stream)) for stream in streams]

    before = await consumers()
    async with contextlib.AsyncExitStack() as stack:
        watches = [await stack.enter_async_context(watching(http)) for _ in range(20)]
        during = await consumers()
        job = await send(http, {"cmd": "SHOW", "updates": [STEP]})
        for watch in watches:
            await watch.until(lambda watch: watch.updates(job) == [1, 2])

    assert during == [count + 1 for count in before]
    for _ in range(2):  # a reader that has gone is noticed when the next board cannot be sent
        await send(http, {"cmd": "SHOW", "updates": []})

    async def gone() -> bool:
        return await consumers() == before

    await until(gone, 20)


async def test_too_many_readers_are_told_so(http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """429, and those who watch go on."""
    monkeypatch.setattr(live, "WATCHERS", 1)
    async with watching(http), http.get("/live") as refused:
        problem = await refused.json(content_type=None)

    assert (refused.status, problem["detail"]) == (429, "1 readers watch already; close some")


async def test_what_is_kept_for_readers_is_bounded(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest jobs and updates; a job that has not ended stays whatever its age."""
    monkeypatch.setattr(live, "JOBS", 3)
    monkeypatch.setattr(live, "UPDATES", 4)
    for _ in range(4):
        ended = await send(http, {"cmd": "SHOW", "updates": [STEP] * 2, "seconds": 0})
    async with watching(http) as watch:
        await watch.until(lambda watch: watch.jobs.get(ended) == "completed")
    waiting = [await send(http, {"cmd": "SHOW", "updates": [], "ending": "wait"}) for _ in range(4)]
    async with watching(http) as watch:
        await watch.until(lambda watch: waiting[-1] in watch.jobs)
    async with watching(http) as later:
        kept = [card.job.job for card in later.boards[0].jobs]
        updates = later.boards[0].updates

    assert (sorted(kept), len(updates)) == (sorted(waiting[1:]), 4)


async def test_what_is_no_update_stops_nobody(http: aiohttp.ClientSession, client: Client) -> None:
    """Whoever may publish on an open broker cannot end the stream: what cannot be read is left out."""
    async with watching(http) as watch:
        for body, head in (
            (b"{", {}),
            (b'{"hash":"x"}', {}),
            (b"\xff", {"Acp-Seq": "1"}),
            (b"{}", {"Acp-Seq": "9" * 99}),
        ):
            await client.jetstream().publish(NAMES.status("job-x"), body, headers=head or None)
        job = await send(http, {"cmd": "SHOW", "updates": [STEP]})
        await watch.until(lambda watch: watch.updates(job) == [1, 2])
        assert watch.updates("job-x") == []


async def test_a_reader_outlives_the_broker(tmp_path: Path, settings: Settings) -> None:
    """While the broker is away the boards say that the agent is not ready; once it is back, readers resume."""
    stage = Stage()
    async with Broker(tmp_path / "mortal") as broker:
        port = int(broker.url.rsplit(":", 1)[1])
        mortal = settings.model_copy(update={"nats_urls": (broker.url,)})
        async with serving(mortal, stage.routes) as url, aiohttp.ClientSession(url) as http:
            before = await send(http, {"cmd": "SHOW", "updates": [STEP]})
            async with watching(http) as watch:
                await watch.until(lambda watch: watch.updates(before) == [1, 2])
                signal_group(broker.child, signal.SIGKILL)
                await broker.child.wait()
                await watch.until(lambda watch: not watch.boards[-1].ready)
                async with http.get("/live") as refused:
                    assert refused.status == 503
                async with Broker(tmp_path / "mortal", port=port):
                    await watch.ended()
                    async with watching(http, watch.last) as resumed:
                        after = await send(http, {"cmd": "SHOW", "updates": [STEP]})
                        await resumed.until(lambda watch: watch.updates(after) == [1, 2])

    assert resumed.updates(before) == []


async def test_the_address_for_commands_holds_no_credentials(tmp_path: Path, settings: Settings) -> None:
    """What the page offers to send to is the broker's address and nothing of how the agent got in."""
    async with Broker(tmp_path / "closed", extra='authorization {user: "u", password: "secret"}') as broker:
        named = broker.url.replace("://", "://u:secret@")
        closed = settings.model_copy(update={"nats_urls": (named,)})
        async with serving(closed, Stage().routes) as url, aiohttp.ClientSession(url) as http, watching(http) as watch:
            assert watch.boards[0].nats == broker.url


async def test_deployments_are_told_when_they_change(http: aiohttp.ClientSession, stage: Stage) -> None:
    """All of them, once for each change, and to each reader at first."""
    deployments = rollout()
    async with watching(http) as watch:
        stage.deployments = deployments
        await watch.until(lambda watch: watch.boards[-1].deployments == deployments)
        async with watching(http) as late:
            assert late.boards[0].deployments == deployments
        stage.deployments = ()
        await watch.until(lambda watch: watch.boards[-1].deployments == ())
        told = [board for board in watch.boards if board.deployments is not None]

    assert len(told) == 2


async def test_a_job_leaves_its_plan(http: aiohttp.ClientSession) -> None:
    """`/jobs/{job}/plan` is the plan of a job that made one, 404 for any other."""
    command = orjson.loads((Path(__file__).parents[2] / "examples" / "llama-3-70b.json").read_bytes())
    planned = await send(http, command | {"mode": "run"})
    other = await send(http, {"cmd": "SHOW", "updates": []})
    async with watching(http) as watch:
        await watch.until(lambda watch: watch.jobs.get(planned) == "not_met" and watch.jobs.get(other) == "completed")
    async with http.get(f"/jobs/{planned}/plan") as response:
        plan = Plan.model_validate_json(await response.read())
    async with http.get(f"/jobs/{other}/plan") as none, http.get("/jobs/job-x/plan") as unknown:
        assert (none.status, unknown.status) == (404, 404)
        assert (await none.json(content_type=None))["code"] == "not_found"

    assert plan.model == "Llama-3-70B"


async def test_only_the_page_itself_may_ask_in_a_browser(http: aiohttp.ClientSession) -> None:
    """Its own Origin is let in, another page's is not, nor a request that the browser says another site made."""
    own = f"http://{http._base_url.authority}"  # type: ignore[union-attr] # noqa: SLF001 - the session's own address
    job = await send(http, {"cmd": "SHOW", "updates": [], "ending": "wait"})
    seen = []
    for head in (
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": own, "Sec-Fetch-Site": "same-origin"},
    ):
        async with http.delete(f"/jobs/{job}", headers=head) as response:
            seen.append(response.status)

    assert seen == [403, 403, 403, 403, 202]


async def test_the_pages_files_are_guarded_and_hold_no_data(http: aiohttp.ClientSession) -> None:
    """They need no token, and nothing but the bridge's own files may run in them."""
    async with http.get("/") as page:
        text, policy = await page.text(), page.headers["Content-Security-Policy"]
        assert (page.status, page.content_type) == (200, "text/html")
    async with http.get("/static/dashboard.js") as script, http.get("/static/../app.py") as outside:
        assert (script.status, "javascript" in script.content_type, outside.status) == (200, True, 404)

    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert "require-trusted-types-for 'script'" in policy
    assert " style=" not in text
    assert "<script>" not in text
