"""An emulated Kubernetes API on loopback, run by the `manifests` toolchain: it stores what clients send.

Prints its address; at a line on standard input it prints the stored objects' kinds and names with their replicas.
It knows no controller: nothing is scheduled, and no schema is enforced.
"""

import asyncio
import json
import sys

import kmock

CRDS = {
    "leaderworkerset.x-k8s.io/v1/leaderworkersets": "LeaderWorkerSet",
    "monitoring.coreos.com/v1/servicemonitors": "ServiceMonitor",
    "monitoring.coreos.com/v1/prometheusrules": "PrometheusRule",
    "keda.sh/v1alpha1/scaledobjects": "ScaledObject",
    "networking.istio.io/v1/virtualservices": "VirtualService",
    "networking.istio.io/v1/destinationrules": "DestinationRule",
}
KIND = "x-kubernetes-group-version-kind"
VERBS = {"get", "list", "create", "patch", "delete", "watch"}


def describe(api: kmock.KubernetesEmulator) -> None:
    """Tell kubectl that this API validates fields itself, as a real one does; else it refuses to send anything."""
    groups: dict[str, list[dict]] = {}
    for resource, info in api.resources.items():
        root = f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"
        kind = {"group": resource.group, "version": resource.version, "kind": info.kind}
        groups.setdefault(root, []).append(kind)
    api["get /openapi/v3"] << {"paths": {root: {"serverRelativeURL": f"/openapi/v3/{root}"} for root in groups}}
    for root, kinds in groups.items():
        validates = {"parameters": [{"name": "fieldValidation", "in": "query"}]}
        patches = {f"/{root}/{kind['kind']}": {"patch": validates | {KIND: kind}} for kind in kinds}
        api[f"get /openapi/v3/{root}"] << {"openapi": "3.0.0", "paths": patches}


def correct_core(api: kmock.KubernetesEmulator) -> None:
    """The core group by its own name: kmock 0.8 calls it `/v1`, under which kubectl does not look for it."""
    rows = [
        {"name": resource.plural, "kind": info.kind, "singularName": info.singular, "namespaced": info.namespaced}
        | {"verbs": sorted(info.verbs)}
        for resource, info in api.resources.items()
        if not resource.group
    ]
    api["get /api/v1"] << {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": rows}


def say(line: str) -> None:
    """One line to whoever started this."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main() -> None:
    """Serve until standard input ends."""
    async with kmock.KubernetesEmulator() as api, kmock.Server(api) as server:
        api.resources.load_bundled()
        for path, kind in CRDS.items():
            api.resources[path] = kmock.ResourceInfo(
                kind=kind, singular=kind.lower(), namespaced=True, verbs=VERBS, shortnames=set(), categories=set()
            )
        describe(api)
        correct_core(api)
        say(str(server.url))
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            stored = [found.raw if hasattr(found, "raw") else dict(found) for found in api.objects.values()]
            say(json.dumps(stored, default=str))


if __name__ == "__main__":
    asyncio.run(main())
