"""The Helm chart, rendered by Helm's own library: what the API's schemas and HAProxy say of it, and what it refuses."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from clusters.conftest import Checker
from clusters.releases import ALL

from executors.deploy.kubernetes import manifests
from executors.toolchain import Toolchain

HERE = Path(__file__).parent
CHART = HERE.parents[1] / "deploy" / "helm" / "inferwright"
ENGINE: dict[str, Any] = {
    "name": "smollm2-v2",
    "image": "ghcr.io/ggml-org/llama.cpp:server-b11549",
    "command": ["/app/llama-server"],
    "args": ["--model", "/models/smollm2-Q8_0.gguf", "--port", "8080"],
    "port": 8080,
    "health": "/health",
    "metrics": "/metrics",
    "replicas": 2,
    "weight": 9,
    "slots": 8,
    "resources": {"requests": {"cpu": "4", "memory": "4Gi"}},
}
Render = Callable[..., Any]


@pytest.fixture
def render(checks: Toolchain) -> Render:
    """Values in, Helm's answer out: documents or an error."""

    def ask(**values: Any) -> Any:
        command = [str(checks.python), str(HERE / "render_chart.py"), str(CHART), "prod", "inference"]
        done = subprocess.run(command, input=json.dumps(values), check=True, capture_output=True, text=True)  # noqa: S603
        return json.loads(done.stdout)

    return ask


def named(documents: list[Any], kind: str, name: str) -> Any:
    """One object."""
    return next(item for item in documents if (item["kind"], item["metadata"]["name"]) == (kind, name))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"engines": [ENGINE], "monitoring": {"enabled": True}},
        {"engines": [ENGINE, ENGINE | {"name": "smollm2-v3", "weight": 1}], "gateway": {"enabled": False}},
        {"nats": {"enabled": False, "url": "tls://broker.example:4222"}, "networkPolicy": {"enabled": False}},
    ],
)
def test_the_chart_renders_to_valid_objects(render: Render, wrong: Checker, values: dict[str, Any]) -> None:
    """Kubernetes' schemas strictly, the Prometheus Operator's with unknown keys refused."""
    documents = render(**values)["documents"]
    assert len(documents) >= 4
    assert wrong(documents) == []


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"agent": {"imagee": "a"}}, "imagee"),
        ({"engines": [ENGINE | {"port": 99999}]}, "port"),
        ({"engines": [ENGINE | {"name": "Not a name"}]}, "name"),
        ({"engines": [ENGINE | {"image": "untagged"}]}, "image"),
        ({"nats": {"enabled": False}}, "nats.url"),
    ],
)
def test_wrong_values_are_refused_by_name(render: Render, values: dict[str, Any], why: str) -> None:
    """`values.schema.json` and required values: Helm names what is wrong and renders nothing."""
    answer = render(**values)
    assert why in answer["error"]


def test_no_pod_has_more_rights_than_it_needs(render: Render) -> None:
    """Agent, broker, gateway, engines: non-root, read-only root, no capability, no token of the cluster."""
    documents = render(engines=[ENGINE])["documents"]
    pods = [item["spec"]["template"]["spec"] for item in documents if item["kind"] in {"Deployment", "StatefulSet"}]
    assert len(pods) == 4
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "livenessProbe" in container
            assert "readinessProbe" in container


def test_haproxy_reads_the_gateway_s_configuration(render: Render, tmp_path: Path) -> None:
    """`haproxy -c` accepts it: two engines with their weights, found by name."""
    documents = render(engines=[ENGINE, ENGINE | {"name": "smollm2-v3", "weight": 1}])["documents"]
    text = named(documents, "ConfigMap", "prod-gateway")["data"]["haproxy.cfg"]
    (tmp_path / "haproxy.cfg").write_text(text)
    haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin") or "haproxy"
    command = [haproxy, "-c", "-f", str(tmp_path / "haproxy.cfg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert re.findall(r"server-template (\S+)- 2 (\S+) .* weight (\d+) ", text) == [
        ("smollm2-v2", "prod-smollm2-v2.inference.svc:8080", "9"),
        ("smollm2-v3", "prod-smollm2-v3.inference.svc:8080", "1"),
    ]


def test_engines_talk_to_nobody(render: Render) -> None:
    """Out: nothing. In: the gateway, and Prometheus."""
    policy = named(render(engines=[ENGINE])["documents"], "NetworkPolicy", "prod-engines")["spec"]
    assert policy["egress"] == []
    sources = policy["ingress"][0]["from"]
    assert sources[0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "gateway"
    assert sources[1]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}


def test_rules_travel_with_the_chart(render: Render) -> None:
    """The chart's rules are those of deploy/prometheus."""
    documents = render(engines=[ENGINE], monitoring={"enabled": True})["documents"]
    rules = yaml.safe_load((HERE.parents[1] / "deploy" / "prometheus" / "rules.yml").read_text())
    assert named(documents, "PrometheusRule", "prod")["spec"] == rules


def test_a_plan_s_release_fits_into_the_values(render: Render, wrong: Checker) -> None:
    """Image, words and resources of a planned release, as its manifests have them, render as an engine of the chart."""
    workload: Any = next(
        item for one in manifests(ALL["vllm-h100"]) for item in one.documents if item["kind"] == "Deployment"
    )
    pod = workload["spec"]["template"]["spec"]
    container = pod["containers"][0]
    engine = ENGINE | {key: container[key] for key in ("image", "command", "args", "resources")}
    engine |= {
        "name": "llama-3-70b-v2",
        "port": 8000,
        "nodeSelector": pod["nodeSelector"],
        "tolerations": pod["tolerations"],
    }
    documents = render(engines=[engine])["documents"]
    assert wrong(documents) == []
    made = named(documents, "Deployment", "prod-llama-3-70b-v2")["spec"]["template"]["spec"]
    assert made["containers"][0]["args"] == container["args"]
    assert made["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
