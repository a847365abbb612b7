import asyncio
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import orjson
import pytest
from nats.aio.client import Client
from processes import AGENT, NAMES, effects, pending, signal_group, terminal_states, until

from acp.headers import NONE, new_trace
from acp.journal import Journal
from acp.ledger import Ledger
from acp.service import Service
from acp.settings import Settings
from acp.work import Work
from cli.send import follow, request
from executors.broker import Broker
from schemas.job import JobRecord
from schemas.status import JobState

Start = Callable[[Settings], AbstractAsyncContextManager[Service]]
JOB = {"cmd": "REHEARSE", "steps": 1}


async def _stored(client: Client, job: str, queued: int) -> None:
    record = JobRecord(job=job, cmd="REHEARSE", digest="", accepted_at="", trace=new_trace(), queued=queued)
    await Ledger(await client.jetstream().key_value(NAMES.bucket), 5).create(record)


@pytest.mark.parametrize("body", [b"{", b'{"record":{"job":"job-of-tomorrow"}}'])
async def test_unreadable_work_is_a_dead_letter_and_the_next_job_runs(
    settings: Settings, client: Client, start: Start, body: bytes
) -> None:
    """A malformed or version-skewed work message is buried once, ends the job it is of, and the agent goes on."""
    js = client.jetstream()
    async with start(settings):
        pass
    await _stored(client, "job-skewed", 1)
    await js.publish(NAMES.work("anonymous"), body, headers={"Acp-Job": "job-skewed", "X-Own": "kept"})
    async with start(settings):
        good = await request(client, JOB, AGENT)
        ended = await asyncio.wait_for(follow(client, AGENT, good.job or "", lambda _: None), 10)
        await until(lambda: _none_pending(client))
        letters = await js.stream_info(NAMES.stream("dlq"))
        letter = await js.get_last_msg(NAMES.stream("dlq"), NAMES.dead_letters)

    head = letter.headers or {}
    assert ended.inference_status.state is JobState.COMPLETED
    assert letters.state.messages == 1
    assert (letter.data, head["X-Own"], head["Acp-Deliveries"]) == (body, "kept", "1")
    assert head["Acp-Reason"] == "unreadable"
    assert await terminal_states(client, "job-skewed") == [JobState.FAILED]


async def _none_pending(client: Client) -> bool:
    return await pending(client) == 0


async def test_the_resender_survives_what_it_cannot_resend(settings: Settings, client: Client, start: Start) -> None:
    """A corrupt file is set aside and a full queue waits for the next look: neither stops the agent."""
    directory = settings.runs_dir / "accepted"
    journal = Journal(directory)
    for job in ("job-a", "job-b"):
        record = JobRecord(job=job, cmd="REHEARSE", digest="", accepted_at="", trace=new_trace())
        work = Work(record=record, command='{"cmd":"REHEARSE","steps":1,"seconds":2}', came_with=NONE)
        async with journal.accepting(work):
            pass
    (directory / "job-0.json").write_text('{"record":')
    await asyncio.sleep(2.1)
    async with start(settings.model_copy(update={"queued_per_sender": 1})) as service:
        await until((directory / "job-0.corrupt").exists)
        await until(lambda: _known(client, "job-a"))
        await asyncio.sleep(0.5)
        assert service.healthy

    assert (directory / "job-0.corrupt").read_text() == '{"record":'
    assert (directory / "job-b.json").exists()


async def _known(client: Client, job: str) -> bool:
    listed = orjson.loads((await request(client, {"cmd": "LIST_JOBS"}, AGENT)).reply)
    return job in [found["job"] for found in listed["jobs"]]


async def test_a_timed_out_acceptance_starts_no_job(
    settings: Settings, broker: Broker, client: Client, tmp_path: Path
) -> None:
    """The broker is silent for longer than the sender waits, then takes the work after all: nothing is carried out."""
    from test_bridge import serving  # noqa: PLC0415

    async with (
        serving(settings.model_copy(update={"http_timeout_s": 0.5})) as url,
        aiohttp.ClientSession(url) as http,
    ):
        signal_group(broker.child, signal.SIGSTOP)
        async with http.post("/acp", json={"cmd": "REHEARSE", "steps": 4, "seconds": 0.2}) as response:
            status = response.status
        await asyncio.sleep(0.2)
        signal_group(broker.child, signal.SIGCONT)
        accepted = settings.runs_dir / "accepted"
        await until(lambda: not list(accepted.iterdir()))
        await asyncio.sleep(1.5)
        listed = orjson.loads((await request(client, {"cmd": "LIST_JOBS"}, AGENT)).reply)

    assert status == 504
    assert [job["state"] for job in listed["jobs"]] == [JobState.CANCELLED]
    assert not effects(tmp_path, listed["jobs"][0]["job"])


async def test_work_that_arrives_before_its_acceptance_is_given_up_does_not_start(
    agent: Service, client: Client, tmp_path: Path
) -> None:
    """The broker has the work, its confirmation does not come: the job waits for what its sender is told, and ends."""
    record = JobRecord(job="job-late", cmd="REHEARSE", digest="", accepted_at="", trace=new_trace())
    work = Work(record=record, command='{"cmd":"REHEARSE","steps":1}', came_with=NONE)

    async def given_up() -> None:
        async with agent.worker._kit.journal.accepting(work):  # noqa: SLF001 - where the acceptance stands
            await client.jetstream().publish(NAMES.work("anonymous"), work.model_dump_json().encode())
            await until(lambda: "job-late" in agent.worker.running)
            raise TimeoutError

    with pytest.raises(TimeoutError):
        await given_up()
    await until(lambda: _none_pending(client))

    assert await terminal_states(client, "job-late") == [JobState.CANCELLED]
    assert not effects(tmp_path, "job-late")


async def test_a_command_left_in_the_inbox_waits_for_the_broker(
    settings: Settings, broker: Broker, client: Client, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker falls silent as the job is accepted, for longer than an answer may take: the answer is the job."""
    stopped = asyncio.Event()

    def stop_first(_: Settings) -> None:
        if not stopped.is_set():
            signal_group(broker.child, signal.SIGSTOP)
            stopped.set()

    monkeypatch.setattr("acp.acceptance.check_room", stop_first)
    js = client.jetstream()
    async with start(settings.model_copy(update={"answer_s": 0.5})):
        left = await js.publish(NAMES.inbox, orjson.dumps(JOB))
        await stopped.wait()
        await asyncio.sleep(1)
        signal_group(broker.child, signal.SIGCONT)
        await until(lambda: _inbox_empty(client))
        answer = await js.get_last_msg(NAMES.stream("status"), NAMES.answer_to(left.seq))
        job = orjson.loads(answer.data or b"")["accepted"]
        await asyncio.wait_for(follow(client, AGENT, job, lambda _: None), 10)

    assert effects(settings.runs_dir.parent, job) == {0: 1}


async def _inbox_empty(client: Client) -> bool:
    return (await client.jetstream().stream_info(NAMES.stream("inbox"))).state.messages == 0


@pytest.mark.usefixtures("agent")
async def test_nobody_can_occupy_the_place_of_a_message_without_an_id(client: Client) -> None:
    """A peer that names its request `inbox-1` does not get, or stop, the job of the inbox's first message."""
    js = client.jetstream()
    squatter = await request(client, JOB, AGENT, {"Nats-Msg-Id": "inbox-1"})
    left = await js.publish(NAMES.inbox, orjson.dumps(JOB))

    async def answered() -> bool:
        return (await js.stream_info(NAMES.stream("inbox"))).state.messages == 0

    await until(answered)
    answer = await js.get_last_msg(NAMES.stream("status"), NAMES.answer_to(left.seq))
    assert left.seq == 1
    assert orjson.loads(answer.data or b"")["accepted"] not in {None, squatter.job}
