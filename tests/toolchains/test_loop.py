"""The closed loop with each engine that is a folder's own; run by `make test-toolchains` only."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from closing.agent import SMALL, tell
from conftest import CACHE

from executors.texts import Texts
from executors.toolchain import Toolchain
from handlers.workshop import Workshop
from schemas.measurement import GateVerdict
from schemas.plan import StepKind
from schemas.report import Report, TrialOutcome
from schemas.status import InferenceStatus, JobState

pytestmark = [pytest.mark.real, pytest.mark.timeout(900), pytest.mark.usefixtures("nothing_left")]
EFFORT = replace(SMALL, judge_tokens=1024, level_limit_s=20, calibration_samples=4, calibration_tokens=64)
LOSSES = {"openvino": 0.5, "onnxruntime": 1, "ctranslate2": 0.5, "vllm": 0.5}
"""How much each engine's first form may lose here: ONNX Runtime's is in 4 bits."""


@pytest.fixture(scope="module")
def workshop(llamacpp: Toolchain, shipped: Path, halves: Texts, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The installed toolchains, the real model, small effort, one engine thread."""
    assert llamacpp.python.exists()
    assert halves.calibration.sha256 != halves.evaluation.sha256
    memory = tmp_path_factory.mktemp("memory")
    return Workshop(cache=CACHE, model_roots=(shipped.parent,), memory=memory, effort=EFFORT)


def asked(*engines: str, loss: float) -> dict[str, object]:
    """Among these engines, within this loss of quality."""
    return {
        "cmd": "OPTIMIZE_INFERENCE",
        "model": "smollm2-135m-instruct",
        "targets": {"throughput": 0.01},
        "constraints": {"hardware": "host", "max_quality_loss": loss, "engines": list(engines)},
        "workload": {"input_tokens": 16, "output_tokens": 8, "concurrency": 2},
        "mode": "run",
    }


@pytest.mark.parametrize("name", LOSSES)
async def test_an_engine_goes_round_the_whole_loop(name: str, workshop: Workshop, tmp_path: Path) -> None:
    """Its weights are made, judged, served and loaded, the decision is among what was measured, the report says so."""
    told = await tell(asked(name, loss=LOSSES[name]), tmp_path, replace(workshop, effort=replace(EFFORT, trials=1)))
    assert told.final.state is JobState.COMPLETED, told.final.detail
    report = Report.model_validate_json((told.directory / "report.json").read_bytes())
    assert report.plan.baseline.strategy.engine == "llama.cpp"
    assert [(one.engine, one.missing) for one in report.engines] == [(name, ())]
    (trial,) = report.trials
    assert trial.candidate.strategy.engine == name
    assert trial.outcome is TrialOutcome.MET, trial.sentence
    assert trial.gate is not None
    assert trial.gate.verdict is GateVerdict.PASSED
    assert trial.load is not None
    assert [(level.completed, level.failed) for level in trial.load.levels] == [
        (level.requests, 0) for level in trial.load.levels
    ]
    assert trial.artifact is not None
    assert (told.directory / trial.artifact.path).is_dir()
    assert report.recommended in {None, 0}
    assert f"Engines considered: {name}." in (told.directory / "report.md").read_text()


async def test_the_loop_outlives_the_death_of_an_engine(workshop: Workshop, tmp_path: Path) -> None:
    """OpenVINO's server gets a SIGKILL in its load test: told as such, and llama.cpp is tried next."""
    updates = Killer()
    effort = replace(EFFORT, trials=2, requests=24, judge_tokens=2000)
    told = await tell(asked("openvino", "llama.cpp", loss=0.03), tmp_path, replace(workshop, effort=effort), updates)
    assert updates.killed is not None
    assert not psutil.pid_exists(updates.killed)
    report = Report.model_validate_json((told.directory / "report.json").read_bytes())
    dead, following = report.trials
    assert (dead.candidate.strategy.engine, dead.outcome) == ("openvino", TrialOutcome.FAILED)
    assert "openvino was ended by signal 9" in dead.sentence
    assert "openvino was ended by signal 9" in (told.directory / "report.md").read_text()
    assert any(update.detail.startswith("given up: openvino was ended by signal 9") for update in updates)
    assert following.candidate.strategy.engine == "llama.cpp"
    assert following.outcome is not TrialOutcome.FAILED
    assert report.recommended in {None, 1}


class Killer(list[InferenceStatus]):
    """Updates as they come; once OpenVINO has a level behind it, its server is killed."""

    killed: int | None = None
    """The server's pid, once that is done."""

    def append(self, update: InferenceStatus) -> None:
        """Keep an update, and act on the one that counts."""
        super().append(update)
        at_work = update.phase is StepKind.VALIDATION and update.metrics and update.optimization.startswith("openvino")
        if self.killed is None and at_work:
            family = psutil.Process().children(recursive=True)
            (_, server) = [child for child in family if "openvino_serve.py" in " ".join(child.cmdline())]
            self.killed = server.pid
            os.kill(server.pid, signal.SIGKILL)
