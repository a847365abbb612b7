import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
import rehearsal
from nats.aio.client import Client
from processes import AGENT, NAMES, AgentProcess

from acp.settings import Settings
from cli.send import follow, request
from executors.broker import Broker
from schemas.error import AgentError, ErrorCode
from schemas.status import JobState

DOOR = f"acp.{AGENT}"
AGENT_PUBLISH = ", ".join(
    f'"{subject}"'
    for subject in (
        f"{DOOR}.>",
        "acp.*.cmd",
        "_INBOX.>",
        "$JS.API.>",
        "$JS.ACK.>",
        f"$KV.{NAMES.bucket}.>",
        f"$O.{NAMES.objects}.>",
    )
)
AGENT_SUBSCRIBE = f'"{DOOR}.>", "_INBOX.>", "$SRV.>"'
USERS = """
authorization {{
  users: [
    {{ user: agent, password: a, permissions: {{
        publish: {{ allow: [{agent_publish}] {denied} }}, subscribe: [{agent_subscribe}], allow_responses: true }} }}
    {{ user: devops, password: d, permissions: {{
        publish: ["{door}.cmd.devops-engineer"], subscribe: ["_INBOX.>", "{door}.status.>"] }} }}
    {{ user: rogue, password: r, permissions: {{ publish: ["{door}.cmd.rogue"], subscribe: ["_INBOX.>"] }} }}
    {{ user: nobody, password: n, permissions: {{ publish: ["nowhere"], subscribe: ["_INBOX.>"] }} }}
    {{ user: operator, password: o }}
  ]
}}
"""


def _users(denied: str = "") -> str:
    return USERS.format(agent_publish=AGENT_PUBLISH, agent_subscribe=AGENT_SUBSCRIBE, door=DOOR, denied=denied)


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Broker]:
    """A broker with one user per agent, each allowed what it needs."""
    async with Broker(tmp_path / "guarded", extra=_users()) as broker:
        yield broker


async def _connect(broker: Broker, user: str) -> tuple[Client, list[str]]:
    errors: list[str] = []

    async def hear(error: Exception) -> None:
        errors.append(str(error))

    return await nats.connect(broker.url, user=user, password=user[0], error_cb=hear), errors


def _agent(broker: Broker, directory: Path, **more: object) -> AgentProcess:
    return AgentProcess(broker.url, directory, nats_user="agent", nats_password="a", **more)  # noqa: S106 - a test's own


async def test_f21_an_unauthorised_publisher_reaches_nobody(guarded: Broker, tmp_path: Path) -> None:
    """T01 anonymous/foreign publisher: the agent hears nothing; the publisher hears only through its callback."""
    async with _agent(guarded, tmp_path) as agent:
        await agent.ready()
        client, errors = await _connect(guarded, "nobody")
        await client.publish(NAMES.command, b'{"cmd":"PING"}')
        with pytest.raises(TimeoutError):
            await client.request(NAMES.command, b'{"cmd":"PING"}', timeout=0.5)
        await client.close()

    assert "ermissions" in errors[0]


async def test_f22_a_missing_permission_stops_the_start(tmp_path: Path) -> None:
    """The status subject denied: a loud error that names it, instead of silent loss."""
    denied = f', deny: ["{DOOR}.status.>"]'
    async with Broker(tmp_path / "denying", extra=_users(denied)) as broker:
        settings = Settings(nats_urls=(broker.url,), nats_user="agent", nats_password="a", runs_dir=tmp_path)  # noqa: S106
        with pytest.raises(AgentError, match=r"status\.selfcheck") as loud:
            await rehearsal.serve(settings)

    assert loud.value.code is ErrorCode.FORBIDDEN


async def test_t02_a_forged_sender_cannot_cancel_anothers_job(guarded: Broker, tmp_path: Path) -> None:
    """The broker vouches for `cmd.<sender>`; headers and from_agent are claims and grant nothing."""
    async with _agent(guarded, tmp_path) as agent:
        await agent.ready()
        devops, _ = await _connect(guarded, "devops")
        rogue, _ = await _connect(guarded, "rogue")
        door = f"{DOOR}.cmd"
        reply = await devops.request(f"{door}.devops-engineer", b'{"cmd":"REHEARSE","steps":1,"seconds":5}')
        job = (reply.headers or {})["Acp-Job"]
        forged = f'{{"cmd":"CANCEL_JOB","job":"{job}","from_agent":"devops-engineer"}}'.encode()
        refused = await rogue.request(f"{door}.rogue", forged, headers={"Acp-From": "devops-engineer"})
        operator, _ = await _connect(guarded, "operator")
        unvouched = await operator.request(door, forged, headers={"Acp-From": "devops-engineer"})
        allowed = await devops.request(f"{door}.devops-engineer", f'{{"cmd":"CANCEL_JOB","job":"{job}"}}'.encode())
        ended = await asyncio.wait_for(follow(operator, AGENT, job, lambda _: None), 10)
        for client in (devops, rogue, operator):
            await client.close()

    assert (refused.headers or {})["Nats-Service-Error"] == "forbidden"
    assert (unvouched.headers or {})["Nats-Service-Error"] == "forbidden"
    assert "Nats-Service-Error" not in (allowed.headers or {})
    assert ended.inference_status.state is JobState.CANCELLED


@pytest.mark.parametrize("reply", ["$JS.API.STREAM.DELETE.x", f"{DOOR}.cmd", "$SYS.REQ.SERVER.PING"])
async def test_t13_a_reply_subject_cannot_be_abused(broker: Broker, client: Client, tmp_path: Path, reply: str) -> None:
    """No answer goes to the server's own subjects or to an agent's door."""
    heard: list[str] = []

    async def hear(message: object) -> None:
        heard.append(str(message))

    await client.subscribe(reply, cb=hear)
    async with AgentProcess(broker.url, tmp_path) as agent:
        await agent.ready()
        await client.publish(NAMES.command, b'{"cmd":"PING"}', reply=reply)
        await request(client, {"cmd": "PING"}, AGENT)

    assert not [message for message in heard if "pong" in message]
