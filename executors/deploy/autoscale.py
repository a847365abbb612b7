"""A deployment watched: its gateway's queue in, replicas started and stopped as the rule says, every look kept."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from executors.deploy.site import Site
from schemas.deployment import Deployment
from schemas.error import AgentError, ErrorCode
from schemas.scaling import Load, ScalingDecision, ScalingState

LOOK_S = 1.0

Decide = Callable[[Load, ScalingState], ScalingDecision]
OnLook = Callable[[Load, ScalingDecision], Awaitable[None]]


@dataclass
class Autoscaler:
    """Follows one deployment until it is cancelled."""

    site: Site
    decide: Decide
    on_look: OnLook
    limited: bool = False
    """Whether a limiter holds the doors: a replica then serves no more than its share of what they let in."""
    look_s: float = LOOK_S

    async def run(self) -> None:
        """Look, decide, scale, again and again.

        A gateway that does not answer is looked at again; one rollout at a time has the deployment, and while it has,
        replicas stay as they are.

        Raises:
            AgentError: where a replica cannot be started.
        """
        state = ScalingState(replicas=len(self.site.known().stable.replicas))
        while True:
            await asyncio.sleep(self.look_s)
            known = self.site.known()
            try:
                load = await self._look(known)
            except AgentError as error:
                if error.code is not ErrorCode.TOOL_FAILED:
                    raise
                continue
            running = len(known.stable.replicas)
            decision = self.decide(load, state.model_copy(update={"replicas": running}))
            state = decision.state
            await self.on_look(load, decision)
            if known.candidate is None and decision.replicas != running:
                await self.site.scale(decision.replicas)

    async def _look(self, known: Deployment) -> Load:
        now = await self.site.gateway.backend(known.route.stable)
        release = known.stable
        return Load(
            at_s=time.monotonic(),
            queued=now.queued,
            open_requests=max(0, now.open_requests - now.queued),
            slots=now.let_in / len(release.replicas) if self.limited else release.strategy.max_sequences,
        )
