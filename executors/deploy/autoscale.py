"""A deployment watched: its gateway's queue in, replicas started and stopped as the rule says, every look kept."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from executors.deploy.site import Site
from schemas.error import AgentError, ErrorCode
from schemas.scaling import Load, ScalingDecision

LOOK_S = 1.0

Decide = Callable[[Load], ScalingDecision]
OnLook = Callable[[Load, ScalingDecision], Awaitable[None]]


@dataclass
class Autoscaler:
    """Follows one deployment until it is cancelled."""

    site: Site
    decide: Decide
    """The rule, with what it remembers; it hears of each look."""
    on_look: OnLook
    look_s: float = LOOK_S

    async def run(self) -> None:
        """Look, decide, scale, again and again.

        A gateway that does not answer is looked at again; one rollout at a time has the deployment, and while it has,
        replicas stay as they are.

        Raises:
            AgentError: where a replica cannot be started.
        """
        while True:
            await asyncio.sleep(self.look_s)
            try:
                load = await self._look()
            except AgentError as error:
                if error.code is not ErrorCode.TOOL_FAILED:
                    raise
                continue
            decision = self.decide(load)
            await self.on_look(load, decision)
            now = self.site.known()
            if now.candidate is None and decision.replicas != len(now.stable.replicas):
                await self.site.scale(decision.replicas)

    async def _look(self) -> Load:
        known = self.site.known()
        now = await self.site.gateway.backend(known.route.stable)
        return Load(
            at_s=time.monotonic(),
            queued=now.queued,
            open_requests=max(0, now.open_requests - now.queued),
            slots=known.stable.strategy.max_sequences,
        )
