"""When something is wrong: one clear sentence, no traceback, nothing left running, nothing half-written."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from closing.agent import SMALL, tell
from conftest import CACHE

from executors.broker import Broker
from executors.process import Limits
from handlers.workshop import Workshop
from schemas.error import AgentError, ErrorCode
from schemas.plan import StepKind
from schemas.report import Report, TrialOutcome
from schemas.status import InferenceStatus, JobState

pytestmark = pytest.mark.usefixtures("nothing_left")
COMMAND: dict[str, object] = {
    "cmd": "OPTIMIZE_INFERENCE",
    "model": "SmolLM2-135M-Instruct",
    "targets": {"throughput": 0.1},
    "constraints": {"max_quality_loss": 0.5, "hardware": "host", "engines": ["llama.cpp"]},
    "workload": {"input_tokens": 16, "output_tokens": 4},
    "mode": "run",
}


async def test_an_unknown_model_is_answered_with_the_nearest_names(workshop: Workshop, tmp_path: Path) -> None:
    """The sender learns which models are near, and how to give the facts of another."""
    with pytest.raises(AgentError, match="SmolLM2-135M") as caught:
        await tell(COMMAND | {"model": "SmolLM2-135"}, tmp_path, workshop)
    assert caught.value.code is ErrorCode.UNKNOWN_MODEL


@pytest.mark.real
@pytest.mark.parametrize("damage", ["cut", "noise"])
async def test_a_damaged_model_file_fails_the_job_in_one_sentence(
    workshop: Workshop, shipped: Path, tmp_path: Path, damage: str
) -> None:
    """The terminal status names the file and what is wrong; no weights are left under a final name."""
    root = tmp_path / "models"
    root.mkdir()
    broken = root / "SmolLM2-135M-Instruct.gguf"
    if damage == "cut":
        shutil.copyfile(shipped, broken)
        os.truncate(broken, 50_000_000)
    else:
        broken.write_bytes(b"GGUF" + bytes(range(256)) * 100)
    told = await tell(COMMAND, tmp_path / "runs", replace(workshop, model_roots=(root,)))
    assert (told.final.state, told.final.error) == (JobState.FAILED, ErrorCode.UNREADABLE_MODEL)
    assert "Traceback" not in told.final.detail
    assert not list(told.directory.glob("*.gguf"))


@pytest.mark.real
async def test_t09_a_tool_over_its_memory_fails_the_job_in_one_sentence(workshop: Workshop, tmp_path: Path) -> None:
    """Less address space than the model's library needs: the job ends, and nothing is left under a final name."""
    told = await tell(COMMAND, tmp_path, replace(workshop, limits=Limits(memory=150_000_000)))
    assert told.final.state is JobState.FAILED
    assert told.final.error in {ErrorCode.OUT_OF_MEMORY, ErrorCode.TOOL_FAILED}
    assert not list(told.directory.glob("*.gguf"))


@pytest.mark.real
@pytest.mark.timeout(600)
async def test_an_engine_killed_under_load_ends_its_candidate_and_not_the_job(
    workshop: Workshop, tmp_path: Path
) -> None:
    """Kill -9 between two levels of a candidate's load: that trial failed with the reason, the next one is tried."""
    updates = Killer()
    told = await tell(COMMAND, tmp_path, replace(workshop, effort=replace(SMALL, trials=2, requests=24)), updates)
    assert updates.engine is not None
    assert not psutil.pid_exists(updates.engine)
    report = Report.model_validate_json((told.directory / "report.json").read_bytes())
    failed, following = report.trials
    assert failed.outcome is TrialOutcome.FAILED
    assert "ended by signal 9" in failed.sentence
    assert "ended by signal 9" in (told.directory / "report.md").read_text()
    assert any(update.detail.startswith("given up: llama.cpp was ended by signal 9") for update in updates)
    assert following.outcome is not TrialOutcome.FAILED
    assert told.final.state.terminal
    assert report.best is None or report.best == following


class Killer(list[InferenceStatus]):
    """Updates as they come; once the first candidate has a level behind it, its engine gets a SIGKILL."""

    engine: int | None = None
    """The guard's pid, once that is done."""

    def append(self, update: InferenceStatus) -> None:
        """Keep an update, and act on the one that counts."""
        super().append(update)
        if self.engine is None and update.phase is StepKind.VALIDATION and update.metrics:
            family = psutil.Process().children()
            (guard,) = [child for child in family if "llamacpp_serve.py" in " ".join(child.cmdline())]
            self.engine = guard.pid
            os.killpg(guard.pid, signal.SIGKILL)


async def test_a_taken_port_is_said_in_one_sentence(tmp_path: Path) -> None:
    """A broker that cannot have its port says so instead of hanging."""
    async with Broker(tmp_path / "first") as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(AgentError, match="nats-server did not start"):
            await Broker(tmp_path / "second", port=port).__aenter__()


@pytest.mark.real
@pytest.mark.timeout(600)
def test_ctrl_c_in_the_middle_leaves_nothing(workshop: Workshop, tmp_path: Path) -> None:
    """SIGINT while weights are made or measured: exit 130, a sentence, no process and no half-written file."""
    assert workshop.cache == CACHE
    environment = os.environ | {"INFERWRIGHT_CACHE": str(CACHE), "INFERWRIGHT_EFFORT__MAX_THREADS": "1"}
    argv = [sys.executable, "-m", "cli.main", "demo", "--runs", str(tmp_path)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as demo:  # noqa: S603
        assert demo.stderr is not None
        for line in demo.stderr:
            if "accepted as job" in line:
                break
        time.sleep(4)
        family = psutil.Process(demo.pid).children(recursive=True)
        assert family
        demo.send_signal(signal.SIGINT)
        _, words = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "Traceback" not in words
    assert words.strip().splitlines()[-1] == "inferwright: stopped; nothing is left running"
    gone, alive = psutil.wait_procs(family, timeout=5)
    assert (len(gone), alive) == (len(family), [])
    assert not list(tmp_path.rglob(".partial*"))
