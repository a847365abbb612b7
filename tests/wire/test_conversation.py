import asyncio

import orjson
import pytest
from nats.aio.client import Client

from acp.service import Service
from cli.send import Watch, follow, request, send
from executors.broker import Broker
from schemas.error import AgentError, ErrorCode
from schemas.status import InferenceStatus, JobState

AGENT = "inference-optimization-specialist"


@pytest.mark.usefixtures("agent")
async def test_a_ping_is_answered(client: Client) -> None:
    """PING comes back with the agent's name as terse JSON."""
    sent = await request(client, {"cmd": "PING"}, AGENT)

    assert sent.reply == '{"pong":"inference-optimization-specialist","hash":"ping_v1"}'


@pytest.mark.usefixtures("agent")
async def test_a_job_is_accepted_and_followed_to_its_end(broker: Broker) -> None:
    """A command that takes time is accepted; its updates arrive in order, the last one terminal."""
    seen: list[InferenceStatus] = []

    sent = await send({"cmd": "REHEARSE", "steps": 3}, broker.url, watch=Watch(status=seen.append))

    assert orjson.loads(sent.reply)["accepted"] == sent.job
    assert [status.progress for status in seen] == [1 / 3, 2 / 3, 1.0, 1.0]
    assert sent.terminal is not None
    assert sent.terminal.inference_status.state is JobState.COMPLETED
    assert sent.terminal.inference_status.detail == "3 steps"


@pytest.mark.usefixtures("agent")
async def test_an_unknown_command_is_told_which_there_are(client: Client) -> None:
    """An unknown cmd gets a typed error that lists ours."""
    reply = await client.request(f"acp.{AGENT}.cmd", b'{"cmd":"DEPLOY_STATUS"}')

    error = orjson.loads(reply.data)["error"]
    assert (error["code"], error["status"]) == ("unknown_cmd", 404)
    assert {"PING", "JOB_STATUS", "CANCEL_JOB", "LIST_JOBS"} <= set(error["commands"])
    assert reply.headers is not None
    assert reply.headers["Nats-Service-Error-Code"] == "404"


@pytest.mark.usefixtures("agent")
async def test_a_failing_job_ends_failed_with_its_reason(broker: Broker) -> None:
    """An error that the handler names becomes the terminal status."""
    sent = await send({"cmd": "REHEARSE", "steps": 1, "ending": "fail"}, broker.url, watch=Watch())

    assert sent.terminal is not None
    status = sent.terminal.inference_status
    assert (status.state, status.error, status.detail) == (
        JobState.FAILED,
        ErrorCode.TOOL_FAILED,
        "rehearsed failure: exit code 3",
    )


@pytest.mark.usefixtures("agent")
async def test_a_status_is_never_answered(client: Client) -> None:
    """A message with a hash and no cmd gets no reply."""
    with pytest.raises(asyncio.TimeoutError):
        await client.request(f"acp.{AGENT}.cmd", b'{"ai_status":{},"hash":"ai_v1"}', timeout=0.3)


async def test_jobs_can_be_asked_about(agent: Service, client: Client) -> None:
    """JOB_STATUS and LIST_JOBS show what the ledger knows; an unknown job is an error."""
    sent = await request(client, {"cmd": "REHEARSE", "steps": 1}, AGENT)
    assert sent.job is not None
    await follow(client, AGENT, sent.job, lambda _: None)

    status = orjson.loads((await request(client, {"cmd": "JOB_STATUS", "job": sent.job}, AGENT)).reply)
    listed = orjson.loads((await request(client, {"cmd": "LIST_JOBS"}, AGENT)).reply)

    assert (status["job"]["state"], status["job"]["updates"], status["job"]["attempts"]) == ("completed", 2, 1)
    assert [job["job"] for job in listed["jobs"]] == [sent.job]
    with pytest.raises(AgentError, match="no job 'job-x'"):
        await request(client, {"cmd": "JOB_STATUS", "job": "job-x"}, AGENT)
    assert agent.ready.is_set()


@pytest.mark.usefixtures("agent")
async def test_the_agent_is_found_by_discovery(client: Client) -> None:
    """NATS micro's INFO names the agent, its endpoint and its commands."""
    reply = await client.request(f"$SRV.INFO.{AGENT}")

    info = orjson.loads(reply.data)
    assert f"acp.{AGENT}.cmd" in [endpoint["subject"] for endpoint in info["endpoints"]]
    assert "PING" in info["metadata"]["commands"].split(",")


@pytest.mark.usefixtures("agent")
async def test_the_statistics_count_error_replies(client: Client) -> None:
    """$SRV.STATS shows how many requests each endpoint answered with an error, and the last one's code."""
    for body in (b"{", b'{"cmd":"PING"}', b'{"cmd":"NOPE"}'):
        await client.request(f"acp.{AGENT}.cmd", body)
    await client.request(f"acp.{AGENT}.cmd.peer", b"{}")
    stats = orjson.loads((await client.request(f"$SRV.STATS.{AGENT}")).data)

    plain, verified = stats["endpoints"]
    assert (plain["num_requests"], plain["num_errors"], plain["last_error"]) == (3, 2, "404:unknown_cmd")
    assert (verified["num_requests"], verified["num_errors"], verified["last_error"]) == (1, 1, "400:missing_cmd")


@pytest.mark.usefixtures("agent")
async def test_every_answer_can_be_markdown(client: Client) -> None:
    """respond_format MARKDOWN puts a document into the body: the handler's own where it has one."""
    sent = await request(client, {"cmd": "PING", "respond_format": "MARKDOWN"}, AGENT)

    own = await request(client, {"cmd": "REHEARSE", "at_once": True, "respond_format": "MARKDOWN"}, AGENT)

    assert orjson.loads(own.reply)["markdown"] == "# Rehearsed 3 steps\n"
    assert orjson.loads(sent.reply)["markdown"] == "- pong: inference-optimization-specialist\n- hash: ping_v1\n"
