"""A deployment watched: what those with priority went through in, how many of the rest are let in at a time out."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from executors.deploy.requests import RequestLog
from executors.deploy.site import Site
from schemas.deployment import Release, Slot
from schemas.error import AgentError, ErrorCode
from schemas.limits import LimitDecision, LimitState, Traffic
from schemas.traffic import RequestSeen

LOOK_S = 0.5

Limit = Callable[[Traffic, LimitState | None], LimitDecision]
OnLook = Callable[[Slot, Traffic, LimitDecision], Awaitable[None]]


@dataclass
class Limiter:
    """Holds the doors of one deployment until it is cancelled."""

    site: Site
    limit: Limit
    on_look: OnLook

    async def run(self) -> None:
        """Look, decide, tell the gateway, again and again, each release by itself.

        The gateway is told every time: one that was restarted has nobody come by its doors. One that does not answer is
        told at the next look.
        """
        log = RequestLog(self.site.log, from_end=True)
        states: dict[int, LimitState] = {}
        while True:
            try:
                rows = [row for row in log.new() if row.priority < 0]
                states = {
                    release.number: await self._one(release, states.get(release.number), rows)
                    for release in self.site.known().releases
                }
                await self.site.gateway.doors(used=True)
            except AgentError as error:
                if error.code is not ErrorCode.TOOL_FAILED:
                    raise
            await asyncio.sleep(LOOK_S)

    async def _one(self, release: Release, before: LimitState | None, rows: list[RequestSeen]) -> LimitState:
        now = await self.site.gateway.backend(release.slot)
        traffic = Traffic(
            at_s=time.time(),
            queued=now.held_back,
            inside=now.inside,
            slots=release.strategy.max_sequences,
            replicas=len(release.replicas),
            urgent=tuple(row for row in rows if row.slot == release.slot),
        )
        decision = self.limit(traffic, before)
        await self.site.gateway.let_in(release.slot, decision.limit)
        await self.on_look(release.slot, traffic, decision)
        return decision.state
