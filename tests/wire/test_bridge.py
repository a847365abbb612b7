import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest
import rehearsal
from nats.aio.client import Client
from processes import until

from acp.bridge.app import Bridge
from acp.settings import Settings
from acp.subjects import Subjects
from cli.serve import MakeRoutes, serve
from schemas.status import InferenceStatus, JobState, StatusUpdate

NAMES = Subjects("inference-optimization-specialist")


@contextlib.asynccontextmanager
async def serving(settings: Settings, make_routes: MakeRoutes = rehearsal.routes, port: int = 0) -> AsyncIterator[str]:
    """The URL of the bridge of an agent in this process."""
    opened = settings.model_copy(update={"http": True, "http_port": port})
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    bridges: list[Bridge] = []
    task = asyncio.create_task(
        serve(opened, stop=stop, ready=ready.set_result, make_routes=make_routes, on_bridge=bridges.append)
    )
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    try:
        yield bridges[0].url
    finally:
        stop.set()
        await task


@pytest.fixture
async def http(settings: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    """A session against the bridge of an agent in this process."""
    async with serving(settings) as url, aiohttp.ClientSession(url) as session:
        yield session


async def test_a_command_is_answered_over_http(http: aiohttp.ClientSession) -> None:
    """POST /acp gives the same answer and headers as NATS."""
    async with http.post("/acp", json={"cmd": "PING"}) as response:
        assert response.status == 200
        assert await response.read() == b'{"pong":"inference-optimization-specialist","hash":"ping_v1"}'
        assert response.headers["Acp-From"] == "inference-optimization-specialist"


async def test_a_job_runs_over_http(http: aiohttp.ClientSession) -> None:
    """202 with Location; the job, its events, its report; events resume after Last-Event-ID."""
    async with http.post("/acp", json={"cmd": "REHEARSE", "steps": 2}, headers={"Idempotency-Key": "k"}) as response:
        assert response.status == 202
        where = response.headers["Location"]
    async with http.get(f"{where}/events") as events:
        text = await asyncio.wait_for(events.text(), 10)
    async with http.get(f"{where}/events", headers={"Last-Event-ID": "2"}) as events:
        rest = await asyncio.wait_for(events.text(), 10)
    async with http.get(where) as response:
        job = await response.json()
    async with http.get(f"{where}/report", headers={"Accept": "application/json"}) as response:
        report = await response.json()
    async with http.get(f"{where}/report") as response:
        markdown = await response.text()

    assert [line for line in text.splitlines() if line.startswith("id:")] == ["id: 1", "id: 2", "id: 3"]
    assert [line for line in rest.splitlines() if line.startswith("id:")] == ["id: 3"]
    assert job["state"] == "completed"
    assert report["summary"] == "2 steps"
    assert "- summary: 2 steps" in markdown


async def test_foreign_messages_end_no_readers_stream(http: aiohttp.ClientSession, client: Client) -> None:
    """Whoever may publish on an open broker: no body, no number, an end made up under the next number and a later."""
    async with http.post("/acp", json={"cmd": "REHEARSE", "steps": 40, "seconds": 0.05}) as response:
        where = response.headers["Location"]
    job, js = where.rpartition("/")[2], client.jetstream()
    status = InferenceStatus(state=JobState.COMPLETED, optimization="forged")
    forged = StatusUpdate(inference_status=status, hash="forged").model_dump_json().encode()
    async with http.get(f"{where}/events") as events:
        first = await events.content.readuntil(b"\n\n")
        for seq in ("", "x", "\u0663", "9" * 99, "1", "38", "41", "50"):
            for body in (b"{", b"{}", forged):
                ids = {"Acp-Seq": seq, "Nats-Msg-Id": f"{job}.{seq}"}
                for head in ({"Acp-Seq": seq}, ids) if seq in {"50", "x"} else ({"Acp-Seq": seq},):
                    await js.publish(NAMES.status(job), body, headers=head)
        text = (first + await asyncio.wait_for(events.read(), 30)).decode()
    async with http.get(f"{where}/events") as again:
        replayed = await asyncio.wait_for(again.text(), 10)

    assert [line for line in text.splitlines() if line.startswith("id:")] == [f"id: {seq}" for seq in range(1, 42)]
    assert "forged" not in text
    assert replayed == text


async def test_readers_leave_no_consumer_behind(http: aiohttp.ClientSession, client: Client) -> None:
    """Jobs listed, one asked for, its events read, the board watched: then the broker keeps what it had before."""
    jsm = client.jetstream()
    streams = (NAMES.stream("status"), f"KV_{NAMES.bucket}")
    before = [len(await jsm.consumers_info(name)) for name in streams]
    async with http.post("/acp", json={"cmd": "REHEARSE", "steps": 2}) as response:
        where = response.headers["Location"]
    async with http.get(f"{where}/events") as events:
        await asyncio.wait_for(events.read(), 10)
    async with http.get("/jobs"), http.get(where), http.get("/live") as live:
        await live.content.readuntil(b"\n\n")

    async def as_before() -> bool:
        return [len(await jsm.consumers_info(name)) for name in streams] == before

    await until(as_before)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"{}", 400, "missing_cmd"),
        (b'{"cmd":"NOPE"}', 404, "unknown_cmd"),
        (b'{"cmd":"JOB_STATUS"}', 422, "invalid_command"),
        (b'{"cmd":"OPTIMIZE_INFERENCE","model":"m","mode":"deploy"}', 404, "unknown_model"),
        (b'{"cmd":"PING","x":"' + b"y" * 300_000 + b'"}', 413, "too_large"),
    ],
)
async def test_errors_are_problem_details(http: aiohttp.ClientSession, body: bytes, status: int, code: str) -> None:
    """RFC 9457, with the code of the one error table."""
    async with http.post("/acp", data=body, headers={"Content-Type": "application/json"}) as response:
        problem = orjson.loads(await response.read())
        assert response.content_type == "application/problem+json"

    assert (response.status, problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"urn:acp:error:{code}"


async def test_a_status_over_http_is_not_answered(http: aiohttp.ClientSession) -> None:
    """204, no body."""
    async with http.post("/acp", json={"ai_status": {}, "hash": "ai_v1"}) as response:
        assert (response.status, await response.read()) == (204, b"")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("PUT", "/acp", 405),
        ("GET", "/jobs/job-x", 404),
        ("DELETE", "/jobs/job-x", 404),
        ("GET", "/jobs?limit=x", 422),
    ],
)
async def test_wrong_addresses_are_problems_too(
    http: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    """Whatever is wrong, the answer has one shape."""
    async with http.request(method, path) as response:
        assert response.status == status
        assert response.content_type == "application/problem+json"


async def test_health_and_metrics(http: aiohttp.ClientSession) -> None:
    """Liveness, readiness, Prometheus text and the contract."""
    async with http.post("/acp", json={"cmd": "PING"}):
        pass
    async with http.get("/healthz") as alive, http.get("/readyz") as ready, http.get("/metrics") as metrics:
        text = await metrics.text()
    async with http.get("/openapi.json") as contract:
        document = await contract.json()

    assert (alive.status, ready.status) == (200, 200)
    assert 'acp_messages_total{kind="command"} 1.0' in text
    assert document["openapi"] == "3.1.0"


async def test_a_finished_job_cannot_be_cancelled(http: aiohttp.ClientSession) -> None:
    """DELETE after the end is 409 not_cancelable."""
    async with http.post("/acp", json={"cmd": "REHEARSE", "steps": 0}) as response:
        where = response.headers["Location"]

    async def ended() -> bool:
        async with http.get(where) as response:
            return (await response.json())["state"] == "completed"

    await until(ended)
    async with http.delete(where) as response:
        assert (response.status, (await response.json(content_type=None))["code"]) == (409, "not_cancelable")


async def test_the_bridge_lives_while_the_broker_does_not(tmp_path: Path) -> None:
    """F04: /healthz 200 and /readyz 503 before NATS is there; exit with an error only after the limit."""
    settings = Settings(
        nats_urls=("nats://127.0.0.1:1",), runs_dir=tmp_path, connect_limit_s=1.5, http=True, http_port=0
    )
    bridges: list[Bridge] = []
    task = asyncio.create_task(serve(settings, on_bridge=bridges.append))
    await until(lambda: bool(bridges))
    url = bridges[0].url
    async with aiohttp.request("GET", f"{url}/healthz") as alive, aiohttp.request("GET", f"{url}/readyz") as ready:
        assert (alive.status, ready.status) == (200, 503)

    with pytest.raises(Exception, match=r"no NATS server answered at nats://127.0.0.1:1 within 1.5 s"):
        await task


async def test_f16_a_full_disk_takes_no_jobs_and_is_not_ready(settings: Settings) -> None:
    """disk_full to the sender and to whoever asks for readiness; what needs no disk is still answered."""
    async with (
        serving(settings.model_copy(update={"min_free_bytes": 10**18})) as url,
        aiohttp.ClientSession(url) as http,
    ):
        async with http.post("/acp", json={"cmd": "REHEARSE"}) as job, http.get("/readyz") as ready:
            assert (job.status, ready.status) == (507, 507)
        async with http.post("/acp", json={"cmd": "PING"}) as ping:
            assert ping.status == 200
