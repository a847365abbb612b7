"""Manifests for clusters: what the API's published schemas and kubectl say of them, and what they promise."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from clusters.conftest import Checker
from clusters.releases import ALL, accelerator, release

from executors.deploy.kubernetes import manifests, write
from schemas.cluster import ClusterRelease, Document
from schemas.error import AgentError, ErrorCode

KUBECTL = shutil.which("kubectl") or "kubectl"


def documents(one: ClusterRelease) -> list[Document]:
    """Every object of a release."""
    return [document for item in manifests(one) for document in item.documents]


def named(one: ClusterRelease, kind: str) -> Any:
    """A release's object of one kind that carries the release's own name."""
    return next(item for item in documents(one) if item["kind"] == kind and one.slug in str(item["metadata"]))


def test_every_object_is_as_the_published_schemas_want_it(wrong: Checker) -> None:
    """Kubernetes 1.37 strictly, and the operators' own schemas with unknown keys refused."""
    every = [document for one in ALL.values() for document in documents(one)]
    assert {str(item["kind"]) for item in every} >= {
        "Deployment",
        "LeaderWorkerSet",
        "ScaledObject",
        "ServiceMonitor",
        "PrometheusRule",
        "VirtualService",
        "DestinationRule",
        "NetworkPolicy",
        "PodDisruptionBudget",
    }
    assert wrong(every) == []


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "template", "spec", "runAsNonRoot"), True),
        ("Deployment", ("spec", "replicas"), "two"),
        ("LeaderWorkerSet", ("spec", "leaderWorkerTemplate", "leaderTemplate", "spec", "containers"), "none"),
        ("LeaderWorkerSet", ("spec", "leaderWorkerTemplate", "members"), 2),
        ("ScaledObject", ("spec", "maxReplicas"), 4),
        ("ServiceMonitor", ("spec", "endpoints"), "all"),
        ("PrometheusRule", ("spec", "groups"), {}),
        ("VirtualService", ("spec", "http"), 3),
        ("DestinationRule", ("spec", "weights"), []),
    ],
)
def test_the_schemas_see_what_is_wrong(wrong: Checker, kind: str, path: tuple[str, ...], value: object) -> None:
    """A key that is unknown or of the wrong type is named: the check above can fail for each kind."""
    document = named(ALL["vllm-two-nodes" if kind == "LeaderWorkerSet" else "vllm-h100"], kind)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert len(wrong([document])) >= 1


@pytest.mark.parametrize("name", ALL)
def test_kubectl_reads_what_was_written(name: str, tmp_path: Path) -> None:
    """`kubectl kustomize` on the written folder gives back every object."""
    write(tmp_path, manifests(ALL[name]))
    done = subprocess.run([KUBECTL, "kustomize", str(tmp_path)], check=True, capture_output=True, text=True)  # noqa: S603
    read = {(item["kind"], item["metadata"]["name"]) for item in yaml.safe_load_all(done.stdout)}
    assert read == {
        (item["kind"], item["metadata"]["name"])  # type: ignore[index, call-overload]
        for item in documents(ALL[name])
        if item["kind"] != "Kustomization"
    }


@pytest.mark.parametrize(
    ("name", "resource", "count"),
    [
        ("vllm-h100", "nvidia.com/gpu", "4"),
        ("vllm-two-nodes", "nvidia.com/gpu", "8"),
        ("vllm-mi300x", "amd.com/gpu", "1"),
        ("neuron-inferentia", "aws.amazon.com/neuron", "2"),
        ("vllm-tpu", "google.com/tpu", "4"),
    ],
)
def test_each_machine_asks_for_its_accelerators(name: str, resource: str, count: str) -> None:
    """The vendor's resource, as many as one machine's part of a replica has, and the label of its nodes."""
    one = ALL[name]
    workload = named(one, "LeaderWorkerSet" if one.nodes > 1 else "Deployment")["spec"]
    template = workload["template"] if one.nodes == 1 else workload["leaderWorkerTemplate"]["workerTemplate"]
    assert template["spec"]["containers"][0]["resources"]["limits"][resource] == count
    assert template["spec"]["nodeSelector"]


def test_a_processor_needs_memory_and_no_accelerator() -> None:
    """llama.cpp on EPYC: no vendor resource, no node selector, the threads that the plan gives it."""
    pod = named(ALL["llama.cpp-epyc"], "Deployment")["spec"]["template"]["spec"]
    assert "nodeSelector" not in pod
    assert pod["containers"][0]["resources"]["requests"] == {"cpu": "8", "memory": "60G"}


@pytest.mark.parametrize("name", ALL)
def test_no_engine_runs_as_root_or_may_write(name: str) -> None:
    """Non-root, no capability, a read-only root, no token of the cluster, weights read-only, nothing fetched."""
    one = ALL[name]
    spec = named(one, "LeaderWorkerSet" if one.nodes > 1 else "Deployment")["spec"]
    group = spec.get("leaderWorkerTemplate", {})
    pods = [spec["template"]] if one.nodes == 1 else [group["leaderTemplate"], group["workerTemplate"]]
    for pod in (item["spec"] for item in pods):
        engine = pod["containers"][0]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert engine["securityContext"]["readOnlyRootFilesystem"] is True
        assert engine["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {"name": "models", "mountPath": "/models", "readOnly": True} in engine["volumeMounts"]
        assert {"name": "HF_HUB_OFFLINE", "value": "1"} in engine["env"]
        assert engine["command"][0] not in {"sh", "bash", "/bin/sh"}


def test_scaling_follows_the_queue_and_the_cache() -> None:
    """Queued requests per replica and KV use, never CPU; between the replicas of the plan and those of the budget."""
    spec = named(ALL["vllm-h100"], "ScaledObject")["spec"]
    queries = [item["metadata"]["query"] for item in spec["triggers"]]
    assert queries == [
        'sum(vllm:num_requests_waiting{deployment="llama-3-70b",strategy="inf_opt_v2"})',
        'avg(vllm:kv_cache_usage_perc{deployment="llama-3-70b",strategy="inf_opt_v2"})',
    ]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, 4)
    assert spec["triggers"][0]["metadata"]["threshold"] == "16"


def test_an_engine_that_tells_no_queue_is_not_scaled() -> None:
    """OpenVINO Model Server tells neither queue nor cache: no autoscaler is made up."""
    assert "autoscaling.yaml" not in {item.file for item in manifests(ALL["openvino-xeon"])}


def test_shares_add_up() -> None:
    """5 % to the canary, the rest to what serves."""
    (route,) = named(ALL["vllm-h100"], "VirtualService")["spec"]["http"]
    assert [(item["destination"]["subset"], item["weight"]) for item in route["route"]] == [
        ("stable", 95),
        ("canary", 5),
    ]


def test_two_machines_know_each_other() -> None:
    """Of a replica over two machines the second one has a rank and no server; both may talk, and to nobody else."""
    group = named(ALL["vllm-two-nodes"], "LeaderWorkerSet")["spec"]["leaderWorkerTemplate"]
    leader, worker = (group[key]["spec"]["containers"][0] for key in ("leaderTemplate", "workerTemplate"))
    assert group["size"] == 2
    assert leader["args"][-8:-2] == [
        "--nnodes", "2", "--node-rank", "$(LWS_WORKER_INDEX)", "--master-addr", "$(LWS_LEADER_ADDRESS)",
    ]  # fmt: skip
    assert worker["args"] == [*leader["args"], "--headless"]
    assert "ports" in leader
    assert "ports" not in worker
    policy = named(ALL["vllm-two-nodes"], "NetworkPolicy")["spec"]
    assert policy["egress"][0]["to"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/version"] == "inf_opt_v2"
    assert named(ALL["vllm-h100"], "NetworkPolicy")["spec"]["egress"] == []


@pytest.mark.parametrize(
    ("engine", "key", "count"),
    [("tensorrt-llm", "H100-SXM", 16), ("vllm", "RTX4090", 1), ("tgi", "MI300X", 1), ("onnxruntime", "L4", 1)],
)
def test_what_cannot_be_written_is_refused(engine: str, key: str, count: int) -> None:
    """No launcher over machines, no label for a card, no image for a vendor, no server at all: an error says which."""
    assert accelerator(key)
    with pytest.raises(AgentError) as refused:
        manifests(release(engine, key, count=count))
    assert refused.value.code is ErrorCode.UNSUPPORTED
