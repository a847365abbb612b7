import asyncio

import orjson
import pytest
from nats.aio.client import Client
from processes import AGENT, NAMES, effects, until

from acp.service import Service
from cli.send import follow, request
from schemas.error import AgentError, ErrorCode

JOB = {"cmd": "REHEARSE", "steps": 1}


@pytest.mark.usefixtures("agent")
async def test_f05_the_same_key_and_body_is_the_same_job(client: Client) -> None:
    """A repeated request, whatever its message id and spacing, answers with the first one's job."""
    first = await request(client, JOB, AGENT, {"Idempotency-Key": "k1", "Nats-Msg-Id": "a"})
    spaced = await request(
        client, b'{ "steps": 1, "cmd": "REHEARSE" }', AGENT, {"Idempotency-Key": "k1", "Nats-Msg-Id": "b"}
    )

    assert first.job == spaced.job


@pytest.mark.usefixtures("agent")
async def test_f05_the_same_key_with_another_body_is_an_error(client: Client) -> None:
    """409 idempotency_conflict, also when both come at once."""
    await request(client, JOB, AGENT, {"Idempotency-Key": "k1"})
    with pytest.raises(AgentError) as conflict:
        await request(client, {"cmd": "REHEARSE", "steps": 2}, AGENT, {"Idempotency-Key": "k1"})
    both = await asyncio.gather(
        request(client, JOB, AGENT, {"Idempotency-Key": "k2"}),
        request(client, {"cmd": "REHEARSE", "steps": 2}, AGENT, {"Idempotency-Key": "k2"}),
        return_exceptions=True,
    )

    assert conflict.value.code is ErrorCode.IDEMPOTENCY_CONFLICT
    assert sorted(type(answer).__name__ for answer in both) == ["AgentError", "Sent"]


@pytest.mark.usefixtures("agent")
async def test_f05_without_a_key_every_request_is_a_job(client: Client) -> None:
    """Two equal requests without a key are two jobs."""
    first, second = await request(client, JOB, AGENT), await request(client, JOB, AGENT)

    assert first.job != second.job


async def test_f05_a_message_left_twice_in_the_inbox_is_one_job(agent: Service, client: Client) -> None:
    """The broker drops the same Nats-Msg-Id; the answer with the job is kept for the sender."""
    js = client.jetstream()
    first = await js.publish(NAMES.inbox, orjson.dumps(JOB), headers={"Nats-Msg-Id": "left-1"})
    again = await js.publish(NAMES.inbox, orjson.dumps(JOB), headers={"Nats-Msg-Id": "left-1"})

    assert (first.duplicate, again.duplicate) == (None, True)

    async def answered() -> bool:
        info = await js.stream_info(NAMES.stream("inbox"))
        return info.state.messages == 0

    await until(answered)
    answer = await js.get_last_msg(NAMES.stream("status"), NAMES.answer("left-1"))
    job = orjson.loads(answer.data or b"")["accepted"]
    await asyncio.wait_for(follow(client, AGENT, job, lambda _: None), 10)
    runs = agent.intake._settings.runs_dir.parent  # noqa: SLF001 - where this test's agent works
    assert effects(runs, job) == {0: 1}
