"""Real kubectl against an emulated API: objects arrive, applying again changes nothing, a refusal is told."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from clusters.releases import ALL

from executors.deploy.kubectl import Cluster, apply
from executors.deploy.kubernetes import manifests, write
from executors.toolchain import Toolchain
from schemas.error import AgentError

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
    wanted = {name for item in files for name in item.names if "Kustomization" not in name}
    assert len(first) == len(second) == len(wanted)
    assert all(line.endswith(" created") for line in first)
    assert not any(line.endswith(" created") for line in second)
    assert {f"{item['kind']}/{item['metadata']['name']}" for item in before} == wanted
    assert {item["metadata"]["namespace"] for item in before} == {"inference"}
    assert [item["spec"] for item in before if "spec" in item] == [
        item["spec"] for item in api.stored() if "spec" in item
    ]


async def test_a_new_release_stands_beside_the_old_one(api: Api, tmp_path: Path) -> None:
    """Another version of the same service has objects of its own, and both share one service."""
    old = ALL["vllm-h100"]
    for release in (old, old.model_copy(update={"version": "inf_opt_v3"})):
        write(tmp_path / release.version, manifests(release))
        await apply(tmp_path / release.version, api.cluster, tmp_path / "log")
    stored = api.stored()
    deployments = {item["metadata"]["name"] for item in stored if item["kind"] == "Deployment"}
    services = {item["metadata"]["name"] for item in stored if item["kind"] == "Service"}
    assert deployments == {"llama-3-70b-v2", "llama-3-70b-v3"}
    assert services == {*deployments, "llama-3-70b"}


async def test_a_cluster_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Kubectl's own words are in the error."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG.format(url="http://127.0.0.1:9"))
    write(tmp_path / "deploy", manifests(ALL["vllm-h100"]))
    with pytest.raises(AgentError, match="refused"):
        await apply(tmp_path / "deploy", Cluster(tmp_path / "kubeconfig", "inference"), tmp_path / "log")
