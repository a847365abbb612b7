"""Written manifests in, objects in a cluster out: `kubectl apply` with the kubeconfig that the operator gave."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from executors.process import Child
from schemas.error import AgentError, ErrorCode


@dataclass(frozen=True)
class Cluster:
    """Where this agent may apply manifests; no message can name another."""

    kubeconfig: Path
    namespace: str


async def apply(folder: Path, cluster: Cluster, log: Path, *, dry_run: bool = False) -> tuple[str, ...]:
    """Apply `folder`'s kustomization; one line for each object with what became of it. Applying again changes nothing.

    With `dry_run` the server checks every object (admission and schemas included) and keeps none.

    Raises:
        AgentError: `tool_failed` with kubectl's last words where it is missing or the cluster refuses.
    """
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise AgentError(ErrorCode.TOOL_FAILED, f"kubectl is not installed here; apply {folder} from elsewhere")
    where = ["--kubeconfig", str(cluster.kubeconfig), "--namespace", cluster.namespace]
    rehearsal = ["--dry-run=server"] if dry_run else []
    async with Child([kubectl, *where, "apply", *rehearsal, "-k", str(folder)], log=log, read_output=True) as child:
        lines = [line.decode(errors="replace") async for line in child.lines()]
        if await child.wait():
            raise AgentError(ErrorCode.TOOL_FAILED, f"kubectl could not apply {folder}: {child.tail()}")
    return tuple(line for line in lines if line)
