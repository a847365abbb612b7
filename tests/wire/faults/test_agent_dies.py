import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest
from nats.aio.client import Client
from processes import AGENT, NAMES, AgentProcess, effects, pending, statuses, terminal_states, until

from acp.headers import new_trace
from acp.job import concluded
from acp.ledger import Ledger
from acp.work import Work
from cli.send import follow, request
from executors.broker import Broker
from schemas.job import JobRecord, Outcome
from schemas.status import JobState


async def _submit(client: Client, **fields: object) -> str:
    sent = await request(client, {"cmd": "REHEARSE", **fields}, AGENT)
    assert sent.job is not None
    return sent.job


async def test_f01_a_job_of_a_killed_agent_is_resumed_once(broker: Broker, client: Client, tmp_path: Path) -> None:
    """SIGKILL mid-job: the next agent goes on after the last finished step and ends the job once."""
    async with AgentProcess(broker.url, tmp_path, "first") as first:
        await first.ready()
        job = await _submit(client, steps=6, seconds=0.2)
        await until(lambda: effects(tmp_path, job)[1])
        group = psutil.Process(first.process.pid).children(recursive=True)
        await first.kill()
    async with AgentProcess(broker.url, tmp_path, "second") as second:
        await second.ready()
        ended = await asyncio.wait_for(follow(client, AGENT, job, lambda _: None), 15)

    assert ended.inference_status.state is JobState.COMPLETED
    done = effects(tmp_path, job)
    assert set(done) == set(range(6))
    assert sum(done.values()) <= 7, "only the step that was cut short may be done again"
    assert await terminal_states(client, job) == [JobState.COMPLETED]
    assert [seq for seq, _ in await statuses(client, job)] == list(range(1, 8))
    assert not [process for process in group if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


async def test_f02_a_kill_between_the_end_and_the_ack_runs_nothing_again(
    broker: Broker, client: Client, tmp_path: Path
) -> None:
    """A redelivered job that has ended is acknowledged; its terminal status stays the only one."""
    async with AgentProcess(broker.url, tmp_path, "first") as first:
        await first.ready()
        job = await _submit(client, steps=2)
        await asyncio.wait_for(follow(client, AGENT, job, lambda _: None), 15)
        await until(lambda: _empty(client))
    js = client.jetstream()
    entry = await Ledger(await js.key_value(NAMES.bucket), 5).get(job)
    work = Work.model_validate({"record": entry.record.model_dump(), "command": '{"cmd":"REHEARSE"}', "came_with": {}})
    await js.publish(NAMES.work("anonymous"), work.model_dump_json().encode(), headers={"Acp-Job": job})
    assert await pending(client) == 1

    async with AgentProcess(broker.url, tmp_path, "second") as second:
        await second.ready()
        await until(lambda: _empty(client))

    assert effects(tmp_path, job) == {0: 1, 1: 1}
    assert await terminal_states(client, job) == [JobState.COMPLETED]


async def _empty(client: Client) -> bool:
    return await pending(client) == 0


async def test_f02_a_terminal_status_that_was_not_published_is_published_later(
    broker: Broker, client: Client, tmp_path: Path
) -> None:
    """SIGKILL after the terminal record, before its status: the redelivery publishes it under the same number."""
    async with AgentProcess(broker.url, tmp_path, "first") as first:
        await first.ready()
    js = client.jetstream()
    record = JobRecord(job="job-2", cmd="REHEARSE", digest="", accepted_at="", trace=new_trace())
    ended = concluded(record, Outcome(state=JobState.COMPLETED, summary="done"))
    await Ledger(await js.key_value(NAMES.bucket), 5).create(ended)
    work = Work.model_validate({"record": record, "command": '{"cmd":"REHEARSE"}', "came_with": {}})
    await js.publish(NAMES.work("anonymous"), work.model_dump_json().encode())

    async with AgentProcess(broker.url, tmp_path, "second") as second:
        await second.ready()
        await until(lambda: _empty(client))

    assert await statuses(client, "job-2") == [(1, ended.last)]
    assert not effects(tmp_path, "job-2")


async def test_f06_a_stopped_agent_that_comes_back_does_not_touch_the_job(
    broker: Broker, client: Client, tmp_path: Path
) -> None:
    """SIGSTOP longer than ack_wait: another agent takes over; the first one finds its lease lost and lets go."""
    async with AgentProcess(broker.url, tmp_path, "first") as first:
        await first.ready()
        job = await _submit(client, steps=8, seconds=0.3)
        await until(lambda: effects(tmp_path, job)[0])
        first.signal(signal.SIGSTOP)
        async with AgentProcess(broker.url, tmp_path, "second") as second:
            await second.ready()
            await until(lambda: '"job_taken"' in second.log.read_text())
            first.signal(signal.SIGCONT)
            await until(lambda: '"lease_lost"' in first.log.read_text())
            assert await pending(client) == 1, "the late agent must not acknowledge the other one's job"
            ended = await asyncio.wait_for(follow(client, AGENT, job, lambda _: None), 20)

    assert ended.inference_status.state is JobState.COMPLETED
    assert await terminal_states(client, job) == [JobState.COMPLETED]
    assert '"job_ended"' not in first.log.read_text()


async def test_f07_a_long_job_keeps_its_claim(broker: Broker, client: Client, tmp_path: Path) -> None:
    """A job of several ack_waits is delivered once, though another agent stands by."""
    async with (
        AgentProcess(broker.url, tmp_path, "first") as first,
        AgentProcess(broker.url, tmp_path, "second") as second,
    ):
        await first.ready()
        await second.ready()
        job = await _submit(client, steps=2, seconds=2.5)
        await asyncio.wait_for(follow(client, AGENT, job, lambda _: None), 20)
        taken = first.log.read_text().count('"job_taken"') + second.log.read_text().count('"job_taken"')

    assert taken == 1
    assert effects(tmp_path, job) == {0: 1, 1: 1}


async def test_f07_a_stalled_job_loses_its_claim_though_the_loop_lives(
    broker: Broker, client: Client, tmp_path: Path
) -> None:
    """Work that does not get on is given up, tried again, and ends failed after the last attempt."""
    async with AgentProcess(broker.url, tmp_path, stall_s=0.5, attempts=2) as agent:
        await agent.ready()
        job = await _submit(client, steps=1, ending="stall")
        ended = await asyncio.wait_for(follow(client, AGENT, job, lambda _: None), 20)

    assert ended.inference_status.state is JobState.FAILED
    assert "after 2 attempts" in ended.inference_status.detail
    assert effects(tmp_path, job) == {0: 1}


async def test_f19_sigterm_hands_the_job_back_and_exits_cleanly(broker: Broker, client: Client, tmp_path: Path) -> None:
    """SIGTERM mid-job: exit status 0 within the grace; the job goes on elsewhere at once, its attempt uncounted."""
    async with AgentProcess(broker.url, tmp_path, "first", ack_wait_s=30) as first:
        await first.ready()
        job = await _submit(client, steps=4, seconds=0.3)
        await until(lambda: effects(tmp_path, job)[0])
        first.signal(signal.SIGTERM)
        assert await asyncio.wait_for(first.wait(), 6) == 0
        assert await pending(client) == 1
    async with AgentProcess(broker.url, tmp_path, "second", ack_wait_s=30) as second:
        await second.ready()
        await asyncio.wait_for(follow(client, AGENT, job, lambda _: None), 10)
        entry = await Ledger(await client.jetstream().key_value(NAMES.bucket), 5).get(job)

    assert await terminal_states(client, job) == [JobState.COMPLETED]
    assert entry.record.attempts == 1


@pytest.mark.skipif(os.name != "posix", reason="signals")
async def test_f09_a_job_that_always_crashes_ends_among_the_dead_letters(
    broker: Broker, client: Client, tmp_path: Path
) -> None:
    """A poisonous job is tried `attempts` times, copied with its reason, and ends failed; the next job runs."""
    async with AgentProcess(broker.url, tmp_path, attempts=2) as agent:
        await agent.ready()
        poison = await _submit(client, steps=1, ending="crash")
        ended = await asyncio.wait_for(follow(client, AGENT, poison, lambda _: None), 20)
        good = await _submit(client, steps=1)
        after = await asyncio.wait_for(follow(client, AGENT, good, lambda _: None), 10)

    assert ended.inference_status.error == "internal"
    assert after.inference_status.state is JobState.COMPLETED
    letter = await client.jetstream().get_last_msg(NAMES.stream("dlq"), NAMES.dead_letters)
    assert letter.headers is not None
    assert (letter.headers["Acp-Reason"], letter.headers["Acp-Job"]) == ("poison", poison)
    assert int(letter.headers["Acp-Deliveries"]) == 3
    assert b'"ending":"crash"' in (letter.data or b"")
