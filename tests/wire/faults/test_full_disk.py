import asyncio
import subprocess
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import orjson
import psutil
import pytest
from nats.aio.client import Client
from processes import AGENT, AgentProcess

from acp.acceptance import job_id
from acp.headers import Headers
from acp.service import Service
from acp.settings import Settings
from acp.supervise import directory_bytes
from cli.send import follow, request
from executors.broker import Broker
from schemas.error import AgentError, ErrorCode
from schemas.job import ANYBODY
from schemas.status import JobState

Start = Callable[[Settings], AbstractAsyncContextManager[Service]]
MOUNT = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs -o size=4m none "$0" && "$@"')


def _may_mount() -> bool:
    """Whether this user may mount a file system of its own, which not every machine allows."""
    try:
        return subprocess.run([*MOUNT, "/mnt", "true"], capture_output=True, check=False).returncode == 0  # noqa: S603
    except FileNotFoundError:
        return False


async def test_f16_a_job_over_its_disk_budget_fails_and_leaves_nothing(
    settings: Settings, client: Client, start: Start
) -> None:
    """disk_full, and the job's partial files are gone."""
    async with start(settings.model_copy(update={"job_disk_bytes": 3_000_000})):
        job = (await request(client, {"cmd": "REHEARSE", "steps": 0, "ending": "fill"}, AGENT)).job or ""
        ended = await asyncio.wait_for(follow(client, AGENT, job, lambda _: None), 20)

    assert (ended.inference_status.state, ended.inference_status.error) == (JobState.FAILED, "disk_full")
    assert directory_bytes(settings.runs_dir / job) == 0


@pytest.mark.parametrize("disk", ["/dev/full", *(["tmpfs"] if _may_mount() else [])])
async def test_f16_enospc_ends_the_job_and_the_agent_goes_on(
    broker: Broker, client: Client, tmp_path: Path, disk: str
) -> None:
    """The kernel's own ENOSPC: disk_full, no file of the job is left, and the next job completes.

    On a small file system readiness drops while it is full and is back once the job's files are gone; where this user
    may not mount one, only the device that is always full is written to.
    """
    small = disk == "tmpfs"
    runs = tmp_path / "runs"
    runs.mkdir()
    within = (*MOUNT, str(runs)) if small else ()
    async with AgentProcess(
        broker.url, tmp_path, within=within, http=True, http_port=0, min_free_bytes=3_500_000 if small else 0
    ) as agent:
        await agent.ready()
        lines = [orjson.loads(line) for line in agent.log.read_text().splitlines() if line.startswith("{")]
        url = next(line["url"] for line in lines if line["event"] == "bridge_listening")
        command = {"cmd": "REHEARSE", "steps": 0, "ending": "fill" if small else "full"}
        job = (await request(client, command, AGENT)).job or ""
        ending = asyncio.create_task(asyncio.wait_for(follow(client, AGENT, job, lambda _: None), 20))
        ready: set[int] = set()
        async with aiohttp.ClientSession(url) as http:
            while not ending.done():
                async with http.get("/readyz") as answer:
                    ready.add(answer.status)
            async with http.get("/readyz") as answer:
                after = answer.status
        root = Path(f"/proc/{psutil.Process(agent.process.pid).children(recursive=True)[-1].pid}/root")
        left = (root / runs.relative_to("/") / job).exists()
        again = (await request(client, {"cmd": "REHEARSE", "steps": 1}, AGENT)).job or ""
        next_one = await asyncio.wait_for(follow(client, AGENT, again, lambda _: None), 20)

    status = (await ending).inference_status
    assert (status.state, status.error) == (JobState.FAILED, ErrorCode.DISK_FULL)
    assert "make room" in status.detail
    assert (507 in ready, after) == (small, 200)
    assert not left
    assert next_one.inference_status.state is JobState.COMPLETED


async def test_f16_a_job_that_cannot_be_written_down_is_refused(
    settings: Settings, client: Client, start: Start
) -> None:
    """ENOSPC from the agent's own journal: the sender hears disk_full, and neither a job nor a file is there."""
    accepted = settings.runs_dir / "accepted"
    accepted.mkdir(parents=True)
    job = job_id(ANYBODY, Headers(key="k").identity)
    (accepted / f"{job}.part").symlink_to("/dev/full")
    async with start(settings):
        with pytest.raises(AgentError, match="make room") as refused:
            await request(client, {"cmd": "REHEARSE"}, AGENT, {"Idempotency-Key": "k"})
        listed = orjson.loads((await request(client, {"cmd": "LIST_JOBS"}, AGENT)).reply)

    assert refused.value.code is ErrorCode.DISK_FULL
    assert (listed["jobs"], list(accepted.iterdir())) == ([], [])
