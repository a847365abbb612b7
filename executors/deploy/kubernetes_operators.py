"""A release in, objects for operators out: Prometheus Operator (scraping, alerts), KEDA (scaling), Istio (shares)."""

from executors.deploy.alerts import alert_group, engine_group, service_level
from executors.deploy.kubernetes_pods import labels, selector
from schemas.cluster import ClusterRelease, Document, EngineContainer

PROMETHEUS = "http://prometheus-operated.monitoring.svc:9090"
"""Where the Prometheus Operator's usual installation answers."""
KV_FULL = 0.85
"""Share of the KV cache beyond which waiting requests are preempted soon: one more replica before that."""
SCALE_DOWN_S = 300


def service_monitor(release: ClusterRelease, container: EngineContainer) -> Document:
    """Scrapes every replica; `deployment` and `strategy` are put on each series, as the rules group by them."""
    marks: list[Document] = [
        {"targetLabel": "deployment", "replacement": release.name},
        {"targetLabel": "strategy", "replacement": release.version},
    ]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": _metadata(release),
        "spec": {
            "selector": {"matchLabels": {**selector(release), "inferwright/scrape": "true"}},
            "endpoints": [
                {"port": "http", "path": container.metrics, "interval": "15s", "relabelings": [*marks]},
            ],
        },
    }


def prometheus_rules(release: ClusterRelease, container: EngineContainer) -> tuple[Document, ...]:
    """What holds for every release, once under one name, and this release's service level."""
    level = service_level(release, container)
    shared = _rule_object({"name": "inferwright"}, (engine_group(), alert_group()))
    return (shared, _rule_object(_metadata(release), (level,))) if level else (shared,)


def _rule_object(metadata: Document, groups: tuple[Document, ...]) -> Document:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": metadata,
        "spec": {"groups": [*groups]},
    }


def autoscaler(release: ClusterRelease, container: EngineContainer) -> Document | None:
    """Replicas by queued requests and by KV use, not by CPU, which says nothing of an accelerator's load.

    None where the engine tells neither.
    """
    chosen = f'{{deployment="{release.name}",strategy="{release.version}"}}'
    triggers: list[Document] = []
    if container.waiting:
        # a quarter of a replica's slots waiting per replica: half a batch's time, before anybody waits longer
        wanted = max(1, release.strategy.max_sequences // 4)
        triggers.append(_trigger(f"sum({container.waiting}{chosen})", str(wanted), "AverageValue"))
    if container.kv_usage:
        triggers.append(_trigger(f"avg({container.kv_usage}{chosen})", str(KV_FULL), "Value"))
    if not triggers:
        return None
    kind = {"apiVersion": "apps/v1", "kind": "Deployment"}
    if release.nodes > 1:
        kind = {"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet"}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": _metadata(release),
        "spec": {
            "scaleTargetRef": {**kind, "name": release.slug},
            "minReplicaCount": release.replicas,
            "maxReplicaCount": release.replicas_max,
            "pollingInterval": 15,
            "fallback": {"failureThreshold": 4, "replicas": release.replicas},
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behavior()}},
            "triggers": [*triggers],
        },
    }


def canary_routes(release: ClusterRelease) -> tuple[Document, ...]:
    """Weights between the untouched model (`inf_opt_v0`) and this release, and ejection of replicas that fail."""
    share = round(100 * (release.canary or 0.0))
    routes: list[Document] = [
        {"destination": {"host": release.name, "subset": "stable"}, "weight": 100 - share},
        {"destination": {"host": release.name, "subset": "canary"}, "weight": share},
    ]
    virtual: Document = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": _metadata(release),
        "spec": {"hosts": [release.name], "http": [{"name": "all", "route": [*routes]}]},
    }
    subsets: list[Document] = [
        {"name": "stable", "labels": {"app.kubernetes.io/version": "inf_opt_v0"}},
        {"name": "canary", "labels": {"app.kubernetes.io/version": release.version}},
    ]
    rule: Document = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": _metadata(release),
        "spec": {
            "host": release.name,
            "trafficPolicy": {
                "loadBalancer": {"simple": "LEAST_REQUEST"},
                "outlierDetection": {"consecutive5xxErrors": 5, "interval": "10s", "baseEjectionTime": "30s"},
            },
            "subsets": [*subsets],
        },
    }
    return virtual, rule


def _metadata(release: ClusterRelease) -> Document:
    return {"name": release.slug, "labels": dict(labels(release))}


def _trigger(query: str, threshold: str, kind: str) -> Document:
    meta: Document = {"serverAddress": PROMETHEUS, "query": query, "threshold": threshold}
    return {"type": "prometheus", "metricType": kind, "metadata": meta}


def _behavior() -> Document:
    """Up by one at a time, since loading takes minutes; down only when the need was gone for five minutes."""
    return {
        "scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]},
        "scaleDown": {
            "stabilizationWindowSeconds": SCALE_DOWN_S,
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": SCALE_DOWN_S}],
        },
    }
