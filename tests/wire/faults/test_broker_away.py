import asyncio
import signal
from pathlib import Path

import nats
import pytest
from processes import AGENT, AgentProcess, effects, signal_group, statuses, terminal_states, until

from cli.send import follow, request
from executors.broker import Broker
from schemas.status import JobState


@pytest.mark.parametrize("away_s", [1.0, 60.0])
async def test_f03_the_broker_dies_and_comes_back(tmp_path: Path, away_s: float) -> None:
    """SIGKILL of the broker mid-job: everyone reconnects, and no update is lost or doubled."""
    async with Broker(tmp_path / "broker") as broker:
        port = int(broker.url.rsplit(":", 1)[1])
        async with AgentProcess(broker.url, tmp_path, ack_wait_s=3) as agent:
            await agent.ready()
            client = await nats.connect(broker.url, max_reconnect_attempts=-1, reconnect_time_wait=0.2, error_cb=_quiet)
            sent = await request(client, {"cmd": "REHEARSE", "steps": 8, "seconds": 0.2}, AGENT)
            assert sent.job is not None
            await until(lambda: effects(tmp_path, sent.job or "")[1])
            signal_group(broker.child, signal.SIGKILL)
            await broker.child.wait()
            await asyncio.sleep(away_s)
            async with Broker(tmp_path / "broker", port=port):
                ended = await asyncio.wait_for(follow(client, AGENT, sent.job, lambda _: None), 30)
                states = await terminal_states(client, sent.job)
                numbers = [number for number, _ in await statuses(client, sent.job)]
                again = await request(client, {"cmd": "REHEARSE", "steps": 1}, AGENT)
                await asyncio.wait_for(follow(client, AGENT, again.job or "", lambda _: None), 20)
                await client.close()

    assert ended.inference_status.state is JobState.COMPLETED
    assert states == [JobState.COMPLETED]
    assert numbers == list(range(1, 10))


async def _quiet(_: Exception) -> None:
    """The broker is meant to die here."""
