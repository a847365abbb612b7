"""A release in, its pod template out: image, words, accelerators, probes, and no right that an engine does not need."""

from executors.deploy.containers import MODELS, placement_of, words
from schemas.cluster import ClusterRelease, Document, EngineContainer

VOLUME = "inferwright-models"
"""Claim of the volume that holds the weights; read by many, written by whoever hands over a job's files."""
USER = 65532
"""Any id but 0: the images' files are readable to all."""
CORES_PER_ACCELERATOR = 4
"""Assumed: tokenizing, sampling and HTTP beside one accelerator."""
HOST_MEMORY_GB = 8.0
"""Assumed: what an engine holds in the machine's own memory beside the weights that pass through it."""
START_S = 1800
"""How long loading the weights and compiling graphs may take."""
DRAIN_S = 120
"""How long open requests may go on once a pod is to end."""
Labels = dict[str, str]


def labels(release: ClusterRelease) -> Labels:
    """Kubernetes' recommended labels."""
    return selector(release) | {
        "app.kubernetes.io/name": release.strategy.engine,
        "app.kubernetes.io/component": "engine",
        "app.kubernetes.io/managed-by": "inferwright",
    }


def selector(release: ClusterRelease) -> Labels:
    """What tells this release's serving pods from all others."""
    return service_selector(release) | {"app.kubernetes.io/version": release.version}


def service_selector(release: ClusterRelease) -> Labels:
    """The serving pods of every release; of a replica of several machines, only the first one listens."""
    return {"app.kubernetes.io/instance": release.name, "inferwright/role": "serving"}


def pod(release: ClusterRelease, container: EngineContainer, *, worker: bool = False) -> Document:
    """The template of the serving pod, or of the further machines of one replica."""
    marks = labels(release) | ({"inferwright/role": "worker"} if worker else {})
    return {
        "metadata": {"labels": dict(marks), "annotations": {"inferwright/job": release.job}},
        "spec": {
            "serviceAccountName": release.slug,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": DRAIN_S,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **_where(release),
            "containers": [_engine(release, container, worker=worker)],
            "volumes": [
                {"name": "models", "persistentVolumeClaim": {"claimName": VOLUME, "readOnly": True}},
                {"name": "scratch", "emptyDir": {}},
                # tensor-parallel workers exchange through shared memory, of which a container gets 64 MB by default
                {"name": "shm", "emptyDir": {"medium": "Memory"}},
            ],
        },
    }


def _where(release: ClusterRelease) -> Document:
    """Which nodes will do, and the wish to keep replicas apart."""
    place = placement_of(release)
    spread: Document = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": dict(selector(release))},
    }
    if place is None:
        return {"topologySpreadConstraints": [spread]}
    return {
        "nodeSelector": {place.label: place.value},
        "tolerations": [{"key": place.resource, "operator": "Exists", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [spread],
    }


def _engine(release: ClusterRelease, container: EngineContainer, *, worker: bool) -> Document:
    command, *arguments = (*words(release, container), *(container.worker if worker else ()))
    serving: Document = {"ports": [{"name": "http", "containerPort": container.port}], **_probes(container)}
    return {
        "name": "engine",
        "image": container.image,
        "command": [command],
        "args": [*arguments],
        "env": [*_environment()],
        **({} if worker else serving),
        "lifecycle": {"preStop": {"sleep": {"seconds": 10}}},  # until every gateway has heard that it leaves
        "resources": _resources(release),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "models", "mountPath": MODELS, "readOnly": True},
            {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108 - a volume of this pod alone
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - likewise
        ],
    }


def _environment() -> list[Document]:
    """Caches go to the scratch volume, and nothing is fetched from a model hub."""
    given = {"HOME": "/tmp", "XDG_CACHE_HOME": "/tmp", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}  # noqa: S108 - as above
    pod_ip: Document = {"name": "VLLM_HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    fixed: list[Document] = [{"name": name, "value": value} for name, value in given.items()]
    return [*fixed, pod_ip]


def _probes(container: EngineContainer) -> Document:
    get: Document = {"httpGet": {"path": container.health, "port": "http"}}
    return {
        "startupProbe": get | {"periodSeconds": 10, "failureThreshold": START_S // 10},
        "readinessProbe": get | {"periodSeconds": 5, "failureThreshold": 3},
        # patient: a long prefill may hold an engine's answer back, and a restart costs every open request
        "livenessProbe": get | {"periodSeconds": 15, "timeoutSeconds": 10, "failureThreshold": 8},
    }


def _resources(release: ClusterRelease) -> Document:
    """Requests and limits of one machine's part of a replica."""
    place = placement_of(release)
    if place is None:
        memory = f"{release.memory_gb:.0f}G" if release.memory_gb >= 1 else f"{release.memory_gb * 1000:.0f}M"
        return {
            "requests": {"cpu": str(release.strategy.threads), "memory": memory},
            "limits": {"memory": f"{1.25 * release.memory_gb * 1000:.0f}M"},
        }
    per_node = release.strategy.count // release.nodes
    memory = f"{release.weights_gb / release.nodes + HOST_MEMORY_GB:.0f}G"
    return {
        "requests": {"cpu": str(CORES_PER_ACCELERATOR * per_node), "memory": memory, place.resource: str(per_node)},
        "limits": {place.resource: str(per_node)},
    }
