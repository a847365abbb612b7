"""A planned candidate in, the release that a cluster should serve out."""

import re

from planners.catalog import accelerator_from_host, hardware
from planners.launch import launch_of
from schemas.cluster import DNS_PATTERN, ClusterRelease
from schemas.command import OptimizeInference
from schemas.error import AgentError, ErrorCode
from schemas.hardware import Accelerator, HostFacts
from schemas.model import ModelFacts
from schemas.plan import Candidate

LONGEST_NAME = 30
FIRST_SHARE = 0.01
"""Of the requests, that a new release gets at first."""
HOST = "host"


def release_of(
    command: OptimizeInference,
    candidate: Candidate,
    model: ModelFacts,
    *,
    job: str,
    version: str,
    host: HostFacts | None = None,
    weights: str | None = None,
) -> ClusterRelease:
    """What to run; `weights` names the file that a job made, else a name is given that says what it must hold.

    Raises:
        AgentError: `unknown_hardware` where the candidate's accelerator is this host's and `host` is not given;
            `unsupported` for libraries without a server of their own.
    """
    strategy, name = candidate.strategy, service_name(command.model)
    most, why = _most_replicas(command, candidate)
    accelerator = _accelerator(strategy.accelerator, host)
    launch = launch_of(strategy, model, accelerator)
    if launch is None:
        raise AgentError(ErrorCode.UNSUPPORTED, f"{strategy.engine} is a library without a server of its own")
    return ClusterRelease(
        name=name,
        model=command.model,
        version=version,
        job=job,
        strategy=strategy,
        weights=f"{name}-{weights or strategy.weight_format}",
        arguments=launch.arguments,
        environment=launch.environment,
        settings=launch.settings,
        accelerator=accelerator,
        memory_gb=candidate.memory.total_gb,
        weights_gb=candidate.memory.weights_gb,
        replicas=strategy.replicas,
        replicas_max=most,
        replicas_why=why,
        latency_p95_ms=command.targets.latency_p95,
        canary=FIRST_SHARE,
    )


def service_name(model: str) -> str:
    """A model's name as Kubernetes takes it: `meta-llama/Llama-3.1-70B` becomes `meta-llama-llama-3-1-70b`."""
    name = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")[:LONGEST_NAME].strip("-")
    return name if re.fullmatch(DNS_PATTERN, name) else f"model-{name}".rstrip("-")


def _most_replicas(command: OptimizeInference, candidate: Candidate) -> tuple[int, str]:
    """How far autoscaling may go, and what says so."""
    replicas, budget = candidate.strategy.replicas, command.constraints.budget_monthly
    monthly = candidate.prediction.cost_monthly_usd
    if budget is None or monthly is None or monthly.value <= 0:
        return 2 * replicas, "assumed: twice the plan's replicas, since no budget or no price is known"
    affordable = int(budget // (monthly.value / replicas))
    why = f"${budget:,.0f} a month at ${monthly.value / replicas:,.0f} a replica ({monthly.evidence.value})"
    return max(replicas, affordable), why


def _accelerator(key: str, host: HostFacts | None) -> Accelerator:
    if key == HOST and host is not None:
        return accelerator_from_host(host)
    for item in hardware():
        if item.key == key:
            return item
    raise AgentError(ErrorCode.UNKNOWN_HARDWARE, f"{key} is not in the hardware catalog")
