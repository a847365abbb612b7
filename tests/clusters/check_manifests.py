"""Documents on standard input, what is wrong with them on standard output; run by the `manifests` toolchain.

Kubernetes' own kinds are held against the API's published schemas, the operators' against theirs in `schemas/`.
"""

import json
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate

VERSION = "1.37"
SCHEMAS = Path(__file__).parent / "schemas"
KUSTOMIZE = "kustomize.config.k8s.io"


def problems(document: dict) -> list[str]:
    """What is wrong with one object, by where in it."""
    name = f"{document['kind']}/{document['metadata']['name']}"
    schema = SCHEMAS / f"{document['kind']}.json"
    if schema.exists():
        validator = jsonschema.Draft202012Validator(json.loads(schema.read_text()))
        found = [f"{name} {error.json_path}: {error.message}" for error in validator.iter_errors(document)]
        return found + [line for template in templates(document) for line in problems(template)]
    try:
        kubernetes_validate.validate(document, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{name} {'.'.join(map(str, error.path))}: {error.message}"]
    return []


def templates(document: dict) -> list[dict]:
    """The pod templates of a LeaderWorkerSet, each as a deployment's: its own schema leaves them open."""
    if document["kind"] != "LeaderWorkerSet":
        return []
    pair = document["spec"]["leaderWorkerTemplate"]
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": document["metadata"],
            "spec": {"selector": {"matchLabels": pod["metadata"]["labels"]}, "template": pod},
        }
        for pod in (pair["leaderTemplate"], pair["workerTemplate"])
    ]


def main() -> None:
    """Check all, print the list of what is wrong."""
    documents = [item for item in json.load(sys.stdin) if KUSTOMIZE not in item["apiVersion"]]
    json.dump([line for document in documents for line in problems(document)], sys.stdout)


if __name__ == "__main__":
    main()
