"""A release in, Kubernetes manifests out: what runs it, what keeps it running, and what only operators understand.

Objects are written as the API's own documents: the published schemas check them in tests, which sees more than a
library of classes would (missing fields, enumerations, unknown keys), and the agent needs no client of Kubernetes.
"""

from pathlib import Path

import yaml

from executors.deploy.containers import container_of
from executors.deploy.kubernetes_operators import autoscaler, canary_routes, prometheus_rules, service_monitor
from executors.deploy.kubernetes_pods import Labels, labels, pod, selector, service_selector
from executors.files import write_whole
from schemas.cluster import ClusterRelease, Document, EngineContainer, Manifest

LWS = "leaderworkerset.x-k8s.io/v1"
GATEWAY = {"app.kubernetes.io/component": "gateway"}
"""Label of the pods that may call an engine."""
MONITORING = {"kubernetes.io/metadata.name": "monitoring"}
"""Label of the namespace that Prometheus scrapes from; the API server puts it on every namespace."""
HTTP = "http"


def manifests(release: ClusterRelease) -> tuple[Manifest, ...]:
    """Every file for this release: plain Kubernetes first, then one for each operator, then the list of them.

    Raises:
        AgentError: `unsupported` where no container, node label or way over several machines is known.
    """
    container = container_of(release)
    scaled = autoscaler(release, container)
    files = [
        Manifest(file="workload.yaml", needs=_controller(release), documents=tuple(_core(release, container))),
        Manifest(
            file="monitoring.yaml",
            needs="Prometheus Operator",
            documents=(service_monitor(release, container), *prometheus_rules(release, container)),
        ),
    ]
    if scaled is not None:
        files.append(Manifest(file="autoscaling.yaml", needs="KEDA", documents=(scaled,)))
    if release.canary is not None:
        files.append(Manifest(file="canary.yaml", needs="Istio", documents=canary_routes(release)))
    return (*files, _kustomization(files))


def write(folder: Path, files: tuple[Manifest, ...]) -> None:
    """Each manifest under its name in `folder`, as YAML."""
    folder.mkdir(parents=True, exist_ok=True)
    for item in files:
        write_whole(folder / item.file, as_yaml(item.documents))


def as_yaml(documents: tuple[Document, ...]) -> str:
    """The documents as one YAML stream, keys in the order in which they were written."""
    return yaml.safe_dump_all(documents, sort_keys=False, default_flow_style=False, width=120)


def _controller(release: ClusterRelease) -> str:
    return "LeaderWorkerSet" if release.nodes > 1 else ""


def _core(release: ClusterRelease, container: EngineContainer) -> list[Document]:
    shared = service_selector(release)
    workload = _leader_worker_set if release.nodes > 1 else _deployment
    return [
        _account(release),
        workload(release, container),
        _service(release.slug, selector(release), labels(release) | {"inferwright/scrape": "true"}, container),
        _service(release.name, shared, shared, container),
        _disruption_budget(release),
        _network_policy(release, container),
    ]


def _metadata(release: ClusterRelease) -> Document:
    return {"name": release.slug, "labels": dict(labels(release))}


def _account(release: ClusterRelease) -> Document:
    """An identity without rights: an engine never calls the cluster's API."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(release),
        "automountServiceAccountToken": False,
    }


def _deployment(release: ClusterRelease, container: EngineContainer) -> Document:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(release),
        "spec": {
            "replicas": release.replicas,
            "selector": {"matchLabels": dict(selector(release))},
            # no surge: a spare accelerator for the new pod is rarely there
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": pod(release, container),
        },
    }


def _leader_worker_set(release: ClusterRelease, container: EngineContainer) -> Document:
    """A replica of several machines: they start together, and when one dies all of them start again."""
    return {
        "apiVersion": LWS,
        "kind": "LeaderWorkerSet",
        "metadata": _metadata(release),
        "spec": {
            "replicas": release.replicas,
            "leaderWorkerTemplate": {
                "size": release.nodes,
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": pod(release, container),
                "workerTemplate": pod(release, container, worker=True),
            },
        },
    }


def _service(name: str, chosen: Labels, marks: Labels, container: EngineContainer) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": dict(marks)},
        "spec": {
            "selector": dict(chosen),
            "ports": [{"name": HTTP, "port": container.port, "targetPort": HTTP}],
        },
    }


def _disruption_budget(release: ClusterRelease) -> Document:
    """At most one replica at a time is evicted while nodes are drained."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(release),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": dict(selector(release))}},
    }


def _network_policy(release: ClusterRelease, container: EngineContainer) -> Document:
    """In: the gateway and Prometheus. Out: nothing, save the other machines of the same replica and names for them."""
    chosen = {"app.kubernetes.io/instance": release.name, "app.kubernetes.io/version": release.version}
    group: Document = {"podSelector": {"matchLabels": dict(chosen)}}
    callers: list[Document] = [{"podSelector": {"matchLabels": dict(GATEWAY)}}]
    scrapers: list[Document] = [{"namespaceSelector": {"matchLabels": dict(MONITORING)}}]
    ingress: list[Document] = [{"from": [*callers, *scrapers], "ports": [{"port": container.port}]}]
    egress: list[Document] = []
    if release.nodes > 1:
        ingress.append({"from": [group]})
        names: list[Document] = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
        egress = [{"to": [group]}, {"ports": [*names]}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(release),
        "spec": {
            "podSelector": {"matchLabels": dict(chosen)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [*ingress],
            "egress": [*egress],
        },
    }


def _kustomization(files: list[Manifest]) -> Manifest:
    """The list that `kubectl apply -k` reads."""
    resources = [item.file for item in files]
    document: Document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "metadata": {"name": "release"},
        "resources": [*resources],
    }
    return Manifest(file="kustomization.yaml", needs="", documents=(document,))
