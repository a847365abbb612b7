import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import orjson
from nats.aio.client import Client
from processes import AGENT, NAMES, pending, terminal_updates, until

from acp.door import PENDING_BYTES
from acp.service import Service
from acp.settings import Settings
from benchmarks.flood import RUNNING, flood
from cli.send import request

Start = Callable[[Settings], AbstractAsyncContextManager[Service]]
MANY = 3_000


async def test_f08_no_job_of_a_flood_is_lost_and_none_waits_in_memory(tmp_path: Path) -> None:
    """Thousands of jobs, faster than they run: each ends once, and the agent grows by a few megabytes at most.

    `benchmarks/flood.py` does the same with ten thousand.
    """
    seen = await flood(tmp_path, MANY)

    assert (seen.accepted, seen.ended_once, seen.lost, seen.doubled) == (MANY, MANY, 0, 0)
    assert seen.most_waiting > RUNNING
    assert seen.most_running <= RUNNING
    assert seen.grown_mb < 30


async def test_f08_answers_at_once_are_bounded(settings: Settings, client: Client, start: Start) -> None:
    """Slow answers beside a flood of requests: no more than allowed are worked on at a time, and all are answered."""
    async with start(settings.model_copy(update={"answers_at_once": 8})) as agent:
        slow = {"cmd": "REHEARSE", "at_once": True, "seconds": 0.01}
        busy = asyncio.gather(*(request(client, slow, AGENT) for _ in range(200)))
        peak = 0
        while not busy.done():
            peak = max(peak, len(agent.door.answering))
            await asyncio.sleep(0)

        assert len(await busy) == 200
    assert peak == 8


async def test_f08_what_core_nats_drops_is_counted_and_reported(
    settings: Settings, client: Client, start: Start
) -> None:
    """More requests than the door's queue holds: the rest is dropped, shown by $SRV.STATS, and the agent answers on."""
    bulky = orjson.dumps({"cmd": "REHEARSE", "at_once": True, "seconds": 0, "x": "y" * 60_000})
    async with start(settings.model_copy(update={"answers_at_once": 1})) as agent:
        slow = asyncio.create_task(request(client, {"cmd": "REHEARSE", "at_once": True, "seconds": 2}, AGENT))
        await until(lambda: len(agent.door.answering) == 1)
        for _ in range(2 * PENDING_BYTES // len(bulky)):
            await client.publish(NAMES.command, bulky)
        await until(lambda: _dropped(client))
        await slow
        await request(client, {"cmd": "PING"}, AGENT)


async def _dropped(client: Client) -> int:
    stats = orjson.loads((await client.request(f"$SRV.STATS.{AGENT}")).data)
    return int(stats["endpoints"][0]["data"]["dropped"])


async def test_f08_max_ack_pending_caps_what_runs(settings: Settings, client: Client, start: Start) -> None:
    """Two messages may be unacknowledged: of an agent's eight places two are used, and all jobs end."""
    js = client.jetstream()
    async with start(settings.model_copy(update={"concurrent_jobs": 8})) as agent:
        consumer = await js.consumer_info(NAMES.stream("work"), "agents")
        await js.add_consumer(NAMES.stream("work"), replace(consumer.config, max_ack_pending=2))
        for _ in range(8):
            await request(client, {"cmd": "REHEARSE", "steps": 1, "seconds": 0.1}, AGENT)
        peak = 0
        while await pending(client):
            peak = max(peak, len(agent.worker.running))
        ended = await terminal_updates(client)

    assert peak == 2
    assert list(ended.values()) == [1] * 8
