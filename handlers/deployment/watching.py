"""The watch of a live release's quality: started beside a deployment, and what it runs with."""

import sys
from functools import partial

from executors import toolchain
from executors.deploy.drift import DriftWatch, begin, forget
from executors.deploy.home import Home
from executors.deploy.prompts import LivePrompts
from executors.deploy.site import Site
from executors.deploy.supervisor import Program, Supervisor
from executors.measure.gate import GateRule
from executors.worker import Workbench
from handlers.deployment.quality import decoder, judge_live
from handlers.workbench.prepare import measuring
from handlers.workshop import Workshop
from schemas.command import QualityWatch
from schemas.deployment import Release
from schemas.measurement import GateDecision

WATCHER = "watcher"
"""Its name under the supervisor."""


async def watch(site: Site, spec: QualityWatch | None, limit: float, workshop: Workshop) -> None:
    """Keep the watch up from now on, or end it; it outlives this agent.

    Raises:
        AgentError: `tool_failed`.
    """
    supervisor = Supervisor(site.home)
    await supervisor.drop(WATCHER)
    if spec is None:
        forget(site.home)
        if site.known().candidate is None:  # else a rollout samples for itself
            await site.gateway.sample(0.0)
    else:
        begin(site.home, spec, limit)
        await supervisor.keep(_watcher(site.home, workshop))


def watch_of(site: Site, workshop: Workshop) -> DriftWatch:
    """The loop itself.

    Raises:
        AgentError: `toolchain_missing`.
    """
    tools = toolchain.find("llamacpp", workshop.cache)
    bench = Workbench(tools, 1, site.home.logs / "judge-live.log", limits=workshop.limits)

    async def judge(release: Release, prompts: LivePrompts, rule: GateRule) -> GateDecision:
        return await judge_live(site.home, release, prompts, rule, bench=bench, cache=workshop.cache)

    return DriftWatch(site, judge, decoder, partial(measuring, workshop))


def _watcher(home: Home, workshop: Workshop) -> Program:
    """The loop under the deployment's own supervisor."""
    argv = [sys.executable, "-m", "cli.main", "deployment", "watching", home.name, "--runs", str(home.path.parents[1])]
    environment = {"INFERWRIGHT_CACHE": str(workshop.cache)}
    if workshop.limits.memory:
        environment["INFERWRIGHT_JOB_MEMORY_BYTES"] = str(workshop.limits.memory)
    return Program(WATCHER, argv, environment)
