"""What a job leaves for operators: pages and files that say what was done, what was not, and how to take it back."""

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from closing.records import load, trial
from clusters.conftest import Checker
from clusters.releases import ALL, HOST
from markdown_it import MarkdownIt

from executors.deploy import systemd
from executors.deploy.alerts import alerts
from executors.deploy.compose import compose
from executors.deploy.ray import serve_config
from handlers.handover.jobs import after_plan, after_run
from handlers.handover.release import service_name
from handlers.optimization.advice import advise
from handlers.workshop import Workshop
from schemas.artifact import Artifact, FileDigest
from schemas.command import OptimizeInference
from schemas.delegation import Peer
from schemas.error import AgentError
from schemas.plan import Plan
from schemas.report import Cost, Report
from schemas.status import JobState

CASES = json.loads((Path(__file__).parents[1] / "planning" / "golden" / "cases.json").read_text())
SCHEMA = json.loads((Path(__file__).parent / "schemas" / "compose-spec.json").read_text())


def planned(case: str, folder: Path) -> tuple[OptimizeInference, Plan]:
    """A case of the planner's, with its plan."""
    command = OptimizeInference.model_validate({"cmd": "OPTIMIZE_INFERENCE", **CASES[case]})
    workshop = Workshop(cache=folder / "cache", model_roots=(), memory=folder / "memory")
    return command, asyncio.run(advise(command, workshop))


def links(text: str) -> set[str]:
    """Where a page's links go."""
    tokens = MarkdownIt().parse(text)
    return {str(child.attrs["href"]) for token in tokens for child in token.children or () if child.type == "link_open"}


@pytest.mark.parametrize("case", [name for name in CASES if CASES[name]["constraints"]["hardware"] != "host"])
def test_every_feasible_plan_leaves_a_guide(case: str, tmp_path: Path) -> None:
    """The guide of whatever was chosen says that no gate has passed, and which ways were not written."""
    command, plan = planned(case, tmp_path)
    work = after_plan(tmp_path, command, "job-a", plan)
    if not plan.chosen:
        assert work is None
        assert not (tmp_path / "handover.md").exists()
        return
    text = (tmp_path / "handover.md").read_text()
    assert "No quality gate has passed" in text
    assert "measured |" not in text
    folders = {path.name for path in (tmp_path / "deploy").iterdir()} if (tmp_path / "deploy").exists() else set()
    for way in ("kubernetes", "ray", "compose", "systemd"):
        assert (way in folders) != (f"- {way}: " in text)
    assert (work is not None) == ("kubernetes" in folders)


def test_the_cluster_is_handed_to_devops_with_the_names_of_its_objects(tmp_path: Path, wrong: Checker) -> None:
    """Nothing is applied: the peer gets every manifest by name, and what was written is valid."""
    command, plan = planned("mi300x", tmp_path)
    work = after_plan(tmp_path, command, "job-a", plan)
    assert work is not None
    assert work.peer is Peer.DEVOPS
    assert "after the quality gate has passed" in work.work
    files = sorted((tmp_path / "deploy" / "kubernetes").glob("*.yaml"))
    assert {path.name for path in files} == {
        word.partition(":")[0].removeprefix("deploy/kubernetes/") for word in work.deliverables
    }
    documents = [item for path in files for item in yaml.safe_load_all(path.read_text())]
    assert wrong(documents) == []
    assert any("amd.com/gpu" in json.dumps(item) for item in documents)


@pytest.fixture
def report() -> Report:
    """A run whose second trial is recommended."""
    best = trial("Q8_0", 2.0, 0.005)
    digest = FileDigest(name="Q8_0.gguf", sha256="0" * 64, bytes=10)
    artifact = Artifact(
        method="gguf",
        weight_format="Q8_0",
        source_format="F16",
        tools=("cyllama 0",),
        source=digest,
        output=digest,
        seconds=1,
    )
    return Report.model_construct(
        job="job-a",
        model="SmolLM2",
        state=JobState.COMPLETED,
        sentence="It is *faster* now.",
        hash="inf_opt_v2",
        host=HOST,
        baseline=load(1, 1000),
        trials=(trial("Q4_0", None), best.model_copy(update={"artifact": artifact})),
        recommended=1,
        cost=Cost(monthly=None, per_1k_requests=None, per_1m_tokens=None, sentence=""),
        undo="Serve F16.gguf again.",
    )


COMMAND = OptimizeInference.model_validate(
    {"cmd": "OPTIMIZE_INFERENCE", "model": "SmolLM2", "targets": {"latency_p95": 900}}
)


def test_a_run_leaves_guide_and_runbook(report: Report, tmp_path: Path) -> None:
    """What was measured is the expectation; every alert of the guide has its section in the runbook; undo is told."""
    assert after_run(tmp_path, COMMAND, report) == ("handover.md", "runbook.md")
    guide, runbook = (tmp_path / "handover.md").read_text(), (tmp_path / "runbook.md").read_text()
    assert "No quality gate has passed" not in guide
    assert "It is \\*faster\\* now" in guide
    assert "2 requests/s (1.8 to 2.2) measured" in guide
    assert "smollm2-Q8_0.gguf" in guide
    anchors = {
        f"runbook.md#{line.removeprefix('## ').lower()}" for line in runbook.splitlines() if line.startswith("## ")
    }
    assert {link for link in links(guide) if "#" in link} == anchors == {f"runbook.md#{one.anchor}" for one in alerts()}
    assert "Serve F16.gguf again." in guide
    assert "Serve F16.gguf again." in runbook
    assert sorted(path.name for path in (tmp_path / "deploy").iterdir()) == ["compose", "kubernetes", "ray", "systemd"]


def test_what_stays_as_it_was_leaves_nothing(report: Report, tmp_path: Path) -> None:
    """Where the untouched model is the better choice there is nothing to hand over."""
    assert after_run(tmp_path, COMMAND, report.model_copy(update={"recommended": None})) == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "model", ["meta-llama/Llama-3.1-70B", "../../etc/passwd", "a\n- evil: true", "7b", "Ünïcode", "x" * 300, "--help"]
)
def test_no_name_from_outside_reaches_a_manifest(model: str) -> None:
    """A service's name holds nothing but lower-case letters, digits and dashes, and begins with a letter."""
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,39}[a-z0-9]", service_name(model))


def _written(way: Any, name: str) -> Any:
    """What one way makes of a release; None where it says that it cannot."""
    try:
        return way(ALL[name])
    except AgentError:
        return None


def test_compose_files_follow_the_specification() -> None:
    """The published schema accepts each one, and names what is wrong in one that is not."""
    made = {name: file for name in ALL if (file := _written(compose, name))}
    assert {"vllm-h100", "vllm-mi300x", "llama.cpp-epyc", "neuron-inferentia"} <= set(made)
    assert {"vllm-two-nodes", "vllm-tpu"} & set(made) == set()
    validator = jsonschema.Draft7Validator(SCHEMA)
    assert [error.message for file in made.values() for error in validator.iter_errors(file)] == []
    service = made["vllm-h100"]["services"]["llama-3-70b-v2-2"]
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] == ["4", "5", "6", "7"]
    service["read_only_root"] = True
    assert not validator.is_valid(made["vllm-h100"])


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing to complain about, JSON among the arguments included."""
    units = []
    for name in ALL:
        if text := _written(systemd.unit, name):
            units.append(tmp_path / f"{name.replace('.', '')}@.service")
            units[-1].write_text(text)
    assert len(units) >= 9
    done = subprocess.run(["systemd-analyze", "verify", *map(str, units)], capture_output=True, text=True, check=False)  # noqa: S603, S607
    assert [line for line in done.stderr.splitlines() if str(tmp_path) in line or ".service" in line] == []
    assert done.returncode == 0


def test_ray_serves_the_same_command() -> None:
    """The engine's own words with a port of the replica's, accelerators as Ray counts them, the plan's replicas."""
    config: Any = serve_config(ALL["vllm-h100"])
    (application,) = config["applications"]
    (deployment,) = application["deployments"]
    assert application["import_path"] == "ray_service:build"
    assert application["args"]["command"][:3] == ["vllm", "serve", "/models/model"]
    assert application["args"]["command"][5:9] == ["--host", "127.0.0.1", "--port", "{port}"]
    assert deployment["ray_actor_options"] == {"num_cpus": 4, "num_gpus": 4}
    assert (deployment["autoscaling_config"]["min_replicas"], deployment["autoscaling_config"]["max_replicas"]) == (
        2,
        4,
    )
    with pytest.raises(AgentError, match="LeaderWorkerSet"):
        serve_config(ALL["vllm-two-nodes"])
