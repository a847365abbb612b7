"""What a job leaves in, the deployment guide out: bring it in, check it, watch it, take it back."""

from collections.abc import Iterator, Sequence

from handlers.markdown.sections import bullets, document
from handlers.markdown.text import figure, table
from schemas.alerts import AlertKind
from schemas.cluster import ClusterRelease
from schemas.handover import HandOver
from schemas.text import code, escape

NOT_GATED = (
    "**No quality gate has passed these weights, and no figure below was measured.** Judge them first "
    "(EVALUATE_QUALITY, or the peer's own evaluation): until then no user's request belongs here, not even a canary's."
)
CONTAINERS = (
    "Images were named after their engines' releases and not pulled by this agent; no cluster was at hand. The "
    "manifests follow the published schemas; try `kubectl apply --dry-run=server -k deploy/kubernetes` first."
)


def guide(left: HandOver, alerts: Sequence[AlertKind]) -> str:
    """The whole page."""
    return document(_parts(left, alerts))


def _parts(left: HandOver, alerts: Sequence[AlertKind]) -> Iterator[str]:
    release = left.release
    yield f"# Hand-over: {escape(release.model)} as {escape(release.strategy.label)}"
    yield f"**{escape(left.verdict, 600)}**"
    if not left.gated:
        yield NOT_GATED
    yield f"Job {code(release.job)}, release {code(release.version)}, service {code(release.name)}."
    yield "## What was done\n\n" + bullets(left.done)
    yield "## The weights\n\n" + _weights(release)
    yield from _ways(left)
    if left.refused:
        yield "Not written:\n\n" + bullets([f"{item.way}: {item.why}" for item in left.refused])
    yield "## Check it\n\n" + _check(left)
    yield "## Watch it\n\n" + _watch(alerts)
    yield "## Take it back\n\n" + _undo(left)


def _weights(release: ClusterRelease) -> str:
    return (
        f"Copy the {escape(release.strategy.weight_format)} weights to {code(release.weights)} in the models volume: "
        f"the claim {code('inferwright-models')} on Kubernetes, {code('$MODELS')} for Compose, "
        f"{code('/var/lib/inferwright/models')} for systemd. One replica needs {release.memory_gb:.1f} GB "
        f"({release.weights_gb:.1f} GB of it weights). Engines read them only; nothing is fetched from a model hub.\n"
    )


def _ways(left: HandOver) -> Iterator[str]:
    """A section for each way that was written."""
    release = left.release
    if "kubernetes" in left.folders:
        rows = (
            (code(item.file), escape(item.needs or "nothing more"), escape(", ".join(item.names), 600))
            for item in left.manifests
            if item.file != "kustomization.yaml"
        )
        scaling = f"Autoscaling keeps {release.replicas} to {release.replicas_max} replicas: {release.replicas_why}."
        yield (
            "## On Kubernetes\n\n    kubectl apply -k deploy/kubernetes\n\n"
            + table(("file", "needs", "objects"), rows)
            + f"\nA file whose operator is missing can be left out of `kustomization.yaml`. {escape(scaling, 600)} "
            + f"{_canary(release)}{CONTAINERS}"
        )
    if "ray" in left.folders:
        yield "## On Ray Serve\n\n    cd deploy/ray && serve run serve.yaml\n\nOn any Ray cluster; it scales likewise."
    if "compose" in left.folders:
        command = "MODELS=/path/to/models docker compose -f deploy/compose/compose.yaml up -d"
        yield f"## On one machine, in containers\n\n    {command}"
    if "systemd" in left.folders:
        unit = f"{release.slug}@.service"
        yield (
            f"## On one machine, without containers\n\n    install -m 644 deploy/systemd/{unit} /etc/systemd/system/\n"
            f"    systemctl enable --now {release.slug}@8101"
        )


def _canary(release: ClusterRelease) -> str:
    if release.canary is None:
        return ""
    share = f"{release.canary:.0%}"
    return f"Istio sends {share} of the requests to this release at first; raise it in `canary.yaml` step by step. "


def _check(left: HandOver) -> str:
    name = left.release.name
    first = (
        f"    curl -s http://ADDRESS/v1/chat/completions -H 'Content-Type: application/json' \\\n"
        f'      -d \'{{"model":"{name}","max_tokens":16,"messages":[{{"role":"user","content":"Say hello."}}]}}\'\n\n'
    )
    if not left.expected:
        return first
    rows = ((escape(item.metric), figure(item.figure), escape(item.conditions)) for item in left.expected)
    head = (
        "Under the load of the last column it should show about these figures; far from them, find out why first.\n\n"
    )
    return first + head + table(("metric", "expected", "conditions"), rows)


def _watch(alerts: Sequence[AlertKind]) -> str:
    rows = ((f"[{item.name}](runbook.md#{item.anchor})", item.severity, escape(item.meaning, 300)) for item in alerts)
    return "The rules come with the manifests; each alert has its section in the runbook.\n\n" + table(
        ("alert", "severity", "means"), rows
    )


def _undo(left: HandOver) -> str:
    release = left.release
    own = sorted({str(item["kind"]).lower() for one in left.manifests for item in one.documents} - {"kustomization"})
    marks = f"app.kubernetes.io/instance={release.name},app.kubernetes.io/version={release.version}"
    ways = {
        # by label: the service and the rules that other releases share carry no version
        "kubernetes": f"kubectl delete {','.join(own)} -l {marks}  (once its share of the requests is 0)",
        "ray": f"serve shutdown, or deploy the configuration of the release before; application {left.release.slug}",
        "compose": "docker compose -f deploy/compose/compose.yaml down",
        "systemd": f"systemctl disable --now {left.release.slug}@8101",
    }
    return bullets([left.undo, *(ways[way] for way in left.folders)])
