"""Real kubectl against an emulated API: objects arrive, applying again changes nothing, a refusal is told."""

import json
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from clusters.releases import ALL
from pydantic import BaseModel

from executors.deploy.kubectl import Cluster, apply
from executors.deploy.kubernetes import manifests, write
from executors.toolchain import Toolchain
from handlers.handover.cluster import to_cluster
from schemas.delegation import Handoff, HandoffOutcome, HandoffState, Peer
from schemas.error import AgentError
from schemas.report import Report
from schemas.status import InferenceStatus, JobState

R = TypeVar("R", bound=BaseModel)

UNAPPLIED = {"kustomization.yaml", "traffic.yaml", "canary.yaml"}
"""The list itself, and what moves requests: that is for an operator to apply."""
KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: here, cluster: {{server: "{url}"}}}}]
users: [{{name: agent, user: {{}}}}]
contexts: [{{name: here, context: {{cluster: here, user: agent}}}}]
current-context: here
"""


@dataclass(frozen=True)
class Api:
    """The emulated API and what it stores."""

    process: subprocess.Popen[str]
    cluster: Cluster

    def stored(self) -> list[dict[str, Any]]:
        """Every object, as a client would get it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return list(json.loads(self.process.stdout.readline()))


@pytest.fixture
def api(checks: Toolchain, tmp_path: Path) -> Iterator[Api]:
    """An emulated API, ended with the test."""
    command = [str(checks.python), str(Path(__file__).parent / "emulated_api.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(KUBECONFIG.format(url=process.stdout.readline().strip()))
        yield Api(process, Cluster(kubeconfig, "inference"))
        process.kill()


async def test_a_release_is_applied_and_applying_it_again_changes_nothing(api: Api, tmp_path: Path) -> None:
    """Every manifest of a release over two machines arrives in its namespace; the second time no spec differs."""
    files = manifests(ALL["vllm-two-nodes"])
    write(tmp_path / "deploy", files)
    first = await apply(tmp_path / "deploy", api.cluster, tmp_path / "log")
    before = api.stored()
    second = await apply(tmp_path / "deploy", api.cluster, tmp_path / "log")
    wanted = {name for item in files if item.file not in UNAPPLIED for name in item.names}
    assert len(first) == len(second) == len(wanted)
    assert all(line.endswith(" created") for line in first)
    assert not any(line.endswith(" created") for line in second)
    assert {f"{item['kind']}/{item['metadata']['name']}" for item in before} == wanted
    assert {item["metadata"]["namespace"] for item in before} == {"inference"}
    assert [item["spec"] for item in before if "spec" in item] == [
        item["spec"] for item in api.stored() if "spec" in item
    ]


async def test_a_new_release_stands_beside_the_old_one(api: Api, tmp_path: Path) -> None:
    """Another version of the same service has objects of its own; the service that clients know is left alone."""
    old = ALL["vllm-h100"]
    for release in (old, old.model_copy(update={"version": "inf_opt_v3"})):
        write(tmp_path / release.version, manifests(release))
        await apply(tmp_path / release.version, api.cluster, tmp_path / "log")
    stored = api.stored()
    deployments = {item["metadata"]["name"] for item in stored if item["kind"] == "Deployment"}
    services = {item["metadata"]["name"] for item in stored if item["kind"] == "Service"}
    assert deployments == {"llama-3-70b-v2", "llama-3-70b-v3"}
    assert services == deployments


async def test_a_cluster_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Kubectl's own words are in the error."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG.format(url="http://127.0.0.1:9"))
    write(tmp_path / "deploy", manifests(ALL["vllm-h100"]))
    with pytest.raises(AgentError, match="refused"):
        await apply(tmp_path / "deploy", Cluster(tmp_path / "kubeconfig", "inference"), tmp_path / "log")


class Job:
    """A job without a broker: its steps are not journaled, its peers are absent."""

    def __init__(self, directory: Path) -> None:
        self.job = "job-a"
        self.directory = directory
        self.asked: list[Handoff] = []

    async def step(self, _name: str, _result: type[R], work: Callable[[], Awaitable[R]]) -> R:
        """Do it."""
        return await work()

    async def report(self, status: InferenceStatus, label: str) -> None:
        """Nobody listens."""

    async def hand_off(self, handoff: Handoff) -> HandoffOutcome:
        """Keep what was asked."""
        self.asked.append(handoff)
        return HandoffOutcome(handoff=handoff, state=HandoffState.UNANSWERED)


def run(handover: tuple[str, ...]) -> Report:
    """A run's report, as far as this stage reads it."""
    return Report.model_construct(
        model="SmolLM2",
        state=JobState.COMPLETED,
        sentence="Every limit was met.",
        chosen="Q8_0",
        hash="inf_opt_v2",
        handover=handover,
    )


async def test_a_gated_release_comes_up_beside_what_serves(api: Api, tmp_path: Path) -> None:
    """With a kubeconfig the manifests are applied, nothing that moves requests; devops-engineer does the rest."""
    write(tmp_path / "deploy" / "kubernetes", manifests(ALL["llama.cpp-epyc"]))
    job = Job(tmp_path)
    outcome = await to_cluster(run(("handover.md",)), job, "agent", api.cluster)
    kinds = {item["kind"] for item in api.stored()}
    assert "Deployment" in kinds
    assert "VirtualService" not in kinds
    assert [item["metadata"]["name"] for item in api.stored() if item["kind"] == "Service"] == ["llama-3-70b-v2"]
    assert outcome.state is JobState.COMPLETED
    assert "without any request yet" in outcome.summary
    assert [item.to_agent for item in job.asked] == [Peer.DEVOPS]


async def test_without_a_passed_gate_nothing_is_applied(api: Api, tmp_path: Path) -> None:
    """Manifests that lie there are not enough: where the run recommends nothing, the cluster stays as it is."""
    write(tmp_path / "deploy" / "kubernetes", manifests(ALL["llama.cpp-epyc"]))
    outcome = await to_cluster(run(()), Job(tmp_path), "agent", api.cluster)
    assert outcome.state is JobState.NOT_MET
    assert api.stored() == []
