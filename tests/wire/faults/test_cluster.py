import contextlib
import signal
import socket
from pathlib import Path

import nats
import nats.errors
from nats.aio.client import Client
from nats.js.errors import Error as JetStreamError
from processes import AGENT, NAMES, PATIENT_S, AgentProcess, effects, pending, signal_group, terminal_states, until

from cli.send import request
from executors.broker import Broker
from schemas.status import JobState

SERVERS = 3


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _cluster(directory: Path) -> list[Broker]:
    ports = _free_ports(SERVERS)
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    return [
        Broker(
            directory / f"n{number}",
            extra=f'server_name: "n{number}"\ncluster {{ name: c, listen: "127.0.0.1:{port}", routes: [{routes}] }}',
        )
        for number, port in enumerate(ports)
    ]


async def _through(client: Client) -> bool:
    """Whether no job waits or runs, as far as the servers that are left have agreed on anything again."""
    try:
        return await pending(client) == 0
    except (JetStreamError, nats.errors.Error):
        return False


async def _told(client: Client, jobs: list[str]) -> bool:
    """Whether the status stream, whose leader may have been the one that died, has an end of every job."""
    try:
        return all([await terminal_states(client, job) for job in jobs])
    except (JetStreamError, nats.errors.Error):
        return False


async def test_f28_with_three_replicas_the_loss_of_a_server_loses_no_job(tmp_path: Path) -> None:
    """An agent that starts with its cluster waits for a leader; one server is killed, and all jobs end once."""
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(server) for server in _cluster(tmp_path)]
        urls = [server.url for server in servers]
        client = await nats.connect(urls, max_reconnect_attempts=-1, reconnect_time_wait=0.2, error_cb=_quiet)
        agent = AgentProcess(",".join(urls), tmp_path, replicas=SERVERS, ack_wait_s=5)
        await stack.enter_async_context(agent)
        await agent.ready()
        js = client.jetstream(timeout=PATIENT_S)
        kept = [NAMES.stream(kind) for kind in ("work", "inbox", "status", "dlq")] + [f"KV_{NAMES.bucket}"]
        replicas = {(await js.stream_info(name)).config.num_replicas for name in kept}
        jobs = [(await request(client, {"cmd": "REHEARSE", "steps": 4, "seconds": 0.2}, AGENT)).job or ""]
        jobs += [(await request(client, {"cmd": "REHEARSE", "steps": 1}, AGENT)).job or "" for _ in range(5)]
        await until(lambda: effects(tmp_path, jobs[0])[0])
        signal_group(servers[0].child, signal.SIGKILL)
        await until(lambda: _through(client), timeout=90)
        await until(lambda: _told(client, jobs), timeout=60)
        ends = [await terminal_states(client, job) for job in jobs]
        await client.close()

    assert replicas == {SERVERS}
    assert ends == [[JobState.COMPLETED]] * len(jobs)


async def _quiet(_: Exception) -> None:
    """A server is meant to die here."""
