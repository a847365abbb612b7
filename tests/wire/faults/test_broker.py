import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import nats
import orjson
import pytest
import rehearsal
from nats.aio.client import Client
from processes import AGENT, NAMES, AgentProcess, pending, terminal_states, until

from acp.journal import Journal
from acp.service import Service
from acp.settings import Settings
from cli.send import follow, request
from executors.broker import Broker
from schemas.error import AgentError, ErrorCode
from schemas.status import JobState

Start = Callable[[Settings], AbstractAsyncContextManager[Service]]


async def test_f15_a_full_queue_is_told_to_the_sender(settings: Settings, client: Client, start: Start) -> None:
    """Beyond the jobs queued per sender: 503 queue_full, nothing journaled, and the agent stays up."""
    small = settings.model_copy(update={"queued_per_sender": 1})
    async with start(small):
        first = await request(client, {"cmd": "REHEARSE", "steps": 1, "seconds": 1}, AGENT)
        full = await _refused(client, {"cmd": "REHEARSE", "steps": 1})
        await request(client, {"cmd": "PING"}, AGENT)

        assert full is ErrorCode.QUEUE_FULL
        assert [file.stem for file in (settings.runs_dir / "accepted").glob("*.json")] == [first.job]


async def test_f15_a_full_stream_is_told_to_the_sender(settings: Settings, client: Client, start: Start) -> None:
    """max_bytes of the work stream reached: the same error."""
    async with start(settings.model_copy(update={"stream_bytes": 40_000})):
        full = await _refused(client, {"cmd": "REHEARSE", "steps": 1, "seconds": 1, "x": "y" * 10_000})

    assert full is ErrorCode.QUEUE_FULL


async def _refused(client: Client, command: dict[str, object]) -> ErrorCode | None:
    """The error of the first of a few requests that is refused."""
    for _ in range(8):
        try:
            await request(client, command, AGENT)
        except AgentError as error:
            return error.code
    return None


async def test_f16_a_broker_without_room_stops_the_start(tmp_path: Path) -> None:
    """max_file_store too small: a clear error at start."""
    config = "accounts { A { jetstream { max_file: 1MB, max_mem: 0 }, users: [{user: a, password: b}] } }"
    async with Broker(tmp_path / "broker", extra=config) as broker:
        settings = Settings(nats_urls=(broker.url,), nats_user="a", nats_password="b", runs_dir=tmp_path)  # noqa: S106
        with pytest.raises(AgentError, match="insufficient storage") as refused:
            await rehearsal.serve(settings)

    assert refused.value.code is ErrorCode.DISK_FULL


async def test_f28_work_that_the_broker_lost_is_handed_to_it_again(tmp_path: Path) -> None:
    """The broker comes back empty, as after a power failure without sync: the agent's own journal has the job."""
    async with Broker(tmp_path / "one") as first, AgentProcess(first.url, tmp_path, "first") as agent:
        await agent.ready()
        client = await nats.connect(first.url)
        slow = await request(client, {"cmd": "REHEARSE", "steps": 1, "seconds": 30}, AGENT)
        waiting = await request(client, {"cmd": "REHEARSE", "steps": 1}, AGENT)
        await client.close()
        await agent.kill()
    await asyncio.sleep(2.1)
    async with (
        Broker(tmp_path / "two") as second,
        AgentProcess(second.url, tmp_path, "second", concurrent_jobs=2) as agent,
    ):
        await agent.ready()
        client = await nats.connect(second.url)
        await until(lambda: _known(client, waiting.job or ""))
        await asyncio.wait_for(follow(client, AGENT, waiting.job or "", lambda _: None), 10)
        assert await terminal_states(client, waiting.job or "") == [JobState.COMPLETED]
        assert await pending(client) == 1
        await client.close()

    assert {work.record.job for work in Journal(tmp_path / "runs" / "accepted").waiting()} <= {slow.job}


async def _known(client: Client, job: str) -> bool:
    listed = orjson.loads((await request(client, {"cmd": "LIST_JOBS"}, AGENT)).reply)
    return job in [found["job"] for found in listed["jobs"]]


async def test_f28_the_embedded_broker_syncs_always(tmp_path: Path) -> None:
    """The server itself says that it syncs before it confirms: what was confirmed is on the disk.

    That a power failure then loses nothing cannot be tried here: a test can only kill the server, and what a killed
    process has written stays with the kernel, synced or not.
    """
    async with Broker(tmp_path / "broker", extra='http: "127.0.0.1:-1"') as broker:
        ports = orjson.loads(next(broker.directory.glob("*.ports")).read_text())
        async with aiohttp.request("GET", f"{ports['monitoring'][0]}/jsz?config=true") as answer:
            settled = await answer.json()

    assert settled["config"]["sync_always"] is True


async def test_f13_an_answer_too_large_for_a_message_is_kept_and_referred_to(tmp_path: Path) -> None:
    """A broker that takes 9 KB a message: the publisher hears of more; a larger answer lies in the object store."""
    async with Broker(tmp_path / "small", extra="max_payload: 9KB") as small:
        client = await nats.connect(small.url)
        with pytest.raises(nats.errors.MaxPayloadError):
            await client.publish(NAMES.command, b"x" * 10_241)
        async with AgentProcess(small.url, tmp_path) as agent:
            await agent.ready()
            kept = orjson.loads((await request(client, {"cmd": "DISCOVER_CAPABILITIES"}, AGENT)).reply)
            store = await client.jetstream().object_store(kept["object_store"])
            answer = await store.get(kept["name"])
        await client.close()

    assert orjson.loads(answer.data or b"")["cmd"] == "CAPABILITY_MATCH"
