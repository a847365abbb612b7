"""A CustomResourceDefinition on standard input, the schema of one served version on standard output.

`prune.py KIND VERSION ORIGIN < crd.yaml > KIND.json`. Prose and rules that JSON Schema does not know are left out, and
unknown keys are refused: an API server would drop them silently. Pod templates are left open, since they are checked as
Kubernetes' own. Where each schema comes from is written into it.
"""

import json
import sys
from typing import Any

import yaml

DROPPED = {"description", "default", "nullable", "format"}
POD = {"type": "object", "$comment": "core/v1 PodTemplateSpec"}


def closed(node: Any, name: str = "") -> Any:
    """One node of an OpenAPI schema as JSON Schema."""
    if isinstance(node, list):
        return [closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    if name in {"leaderTemplate", "workerTemplate"}:
        return POD
    if node.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    kept = {key: value for key, value in node.items() if key not in DROPPED and not key.startswith("x-kubernetes-")}
    out = {key: closed(value) for key, value in kept.items() if key != "properties"}
    if "properties" in node:
        out["properties"] = {key: closed(value, key) for key, value in node["properties"].items()}
        if not node.get("x-kubernetes-preserve-unknown-fields"):
            out.setdefault("additionalProperties", False)
    if node.get("nullable"):
        out["type"] = [out["type"], "null"]
    return out


def main(kind: str, version: str, origin: str) -> None:
    """Print the schema."""
    crds = [item for item in yaml.safe_load_all(sys.stdin) if item and item["spec"]["names"]["kind"] == kind]
    group = crds[0]["spec"]["group"]
    served = next(item for item in crds[0]["spec"]["versions"] if item["name"] == version)
    schema = closed(served["schema"]["openAPIV3Schema"])
    schema["properties"] |= {
        "apiVersion": {"const": f"{group}/{version}"},
        "kind": {"const": kind},
        "metadata": {"type": "object"},
    }
    schema["properties"].pop("status", None)
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    json.dump({"$comment": origin} | schema, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
