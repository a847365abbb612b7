"""Children end whatever happens to the agent, see no secrets, and report how they ended."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from executors.process import Child, Limits
from schemas.error import AgentError, ErrorCode

SLEEPER = """
import subprocess, time
subprocess.Popen(["sleep", "300"])
print("up", flush=True)
time.sleep(300)
"""
ORPHAN = """
import asyncio, os, signal, sys
from pathlib import Path
from executors.process import Child

async def main():
    child = Child(["sleep", "300"], log=Path(sys.argv[1]))
    await child.start()
    print(child.process.pid, flush=True)
    await asyncio.sleep(300)

asyncio.run(main())
"""


def group(pid: int) -> list[psutil.Process]:
    """Living processes of a process group."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == pid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def gone_within(pid: int, seconds: float) -> bool:
    """Whether a process group has ended, or does so in time."""
    deadline = time.monotonic() + seconds
    while group(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not group(pid)


async def test_leaving_ends_grandchildren_too(tmp_path: Path) -> None:
    """Leaving the context ends the whole process group."""
    async with Child([sys.executable, "-c", SLEEPER], log=tmp_path / "log", read_output=True) as child:
        assert await anext(child.lines()) == b"up"
        pid = child.process.pid
        assert len(group(pid)) == 3
    assert gone_within(pid, 2)


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """SIGKILL follows where SIGTERM is ignored."""
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(300)"
    )
    child = Child([sys.executable, "-c", code], log=tmp_path / "log", read_output=True)
    await child.start()
    assert await anext(child.lines()) == b"up"
    await child.end(grace_s=0.2)
    assert gone_within(child.process.pid, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="the guard's death signal is Linux's")
def test_kill_9_of_the_agent_ends_its_children(tmp_path: Path) -> None:
    """An agent killed with SIGKILL leaves no child behind."""
    root = Path(__file__).parents[2]
    argv = [sys.executable, "-c", ORPHAN, str(tmp_path / "log")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=root) as agent:  # noqa: S603
        assert agent.stdout is not None
        pid = int(agent.stdout.readline())
        time.sleep(0.3)
        assert len(group(pid)) == 2
        agent.send_signal(signal.SIGKILL)
    assert gone_within(pid, 3)


async def test_the_environment_is_an_allow_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret in the agent's environment does not reach a child."""
    monkeypatch.setenv("NATS_PASSWORD", "canary")
    child = Child([sys.executable, "-c", "import os; print(dict(os.environ))"], log=tmp_path / "log", read_output=True)
    async with child:
        output = b"".join([line async for line in child.lines()])
    assert b"PATH" in output
    assert b"canary" not in output


@pytest.mark.parametrize(("code", "status"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)])
async def test_the_exit_status_is_passed_on(tmp_path: Path, code: str, status: int) -> None:
    """An exit status is the program's own, 128 + n for signal n."""
    async with Child([sys.executable, "-c", code], log=tmp_path / "log") as child:
        assert await asyncio.wait_for(child.wait(), 10) == status


async def test_a_file_limit_stops_a_child(tmp_path: Path) -> None:
    """A child cannot write more than its limit into one file."""
    target = tmp_path / "big"
    code = f"open({str(target)!r}, 'wb').write(bytes(1 << 20))"
    async with Child([sys.executable, "-c", code], log=tmp_path / "log", limits=Limits(file_size=1 << 16)) as child:
        assert await asyncio.wait_for(child.wait(), 10) != 0
    assert target.stat().st_size <= 1 << 16


async def test_a_program_that_is_not_there_says_so(tmp_path: Path) -> None:
    """A missing program ends with a status and words in the log, not with a hang."""
    async with Child([str(tmp_path / "nothing")], log=tmp_path / "log") as child:
        assert await asyncio.wait_for(child.wait(), 10) != 0
    assert "nothing" in child.tail()


async def test_a_directory_that_is_not_there_is_a_typed_error(tmp_path: Path) -> None:
    """What cannot even be started is `tool_failed`."""
    with pytest.raises(AgentError) as caught:
        await Child(["true"], log=tmp_path / "log", cwd=tmp_path / "nowhere").start()
    assert caught.value.code is ErrorCode.TOOL_FAILED
