"""What a new release's latency is held to: what was asked, else what the old one shows in the same traffic."""

import asyncio
import time

from executors.deploy.requests import since
from executors.measure.statistics import percentile
from handlers.deployment.desk import Desk
from schemas.deployment import Deployment
from schemas.error import AgentError, ErrorCode
from schemas.evidence import Estimate, Evidence

LOOK_S = 1.0
RECENT_S = 3600.0
FEWEST = 50
"""Requests of the old release below which its p95 is a guess."""


async def latency_limit(desk: Desk, now: Deployment) -> Estimate:
    """Milliseconds that 95 % of the requests have to keep to.

    Raises:
        AgentError: `timeout` where nobody asks and too little traffic shows what the old release does.
    """
    spec = desk.spec
    if spec.latency_p95 is not None:
        asked = spec.latency_p95
        return Estimate(
            value=asked, low=asked, high=asked, unit="ms", evidence=Evidence.ASSUMED, source="asked for by the sender"
        )
    wanted = max(spec.requests, FEWEST)
    give_up = time.monotonic() + spec.hold_limit_s
    await desk.say("measuring what the old release's latency is, to hold the new one to it", 0.8)
    while True:
        rows = since(desk.site.log, time.time() - RECENT_S)
        served = [row.total_ms for row in rows if row.slot == now.route.stable and not row.failed]
        if len(served) >= wanted:
            shown = percentile(served[-wanted:], 95, "ms", f"{now.stable.label} at the gateway")
            factor = 1 + spec.slower
            return shown.model_copy(
                update={"value": shown.value * factor, "low": shown.low * factor, "high": shown.high * factor}
            )
        if time.monotonic() > give_up:
            seen = f"only {len(served)} requests in {spec.hold_limit_s:.0f} s"
            raise AgentError(ErrorCode.TIMEOUT, f"{seen}: name targets.latency_p95, or wait for traffic")
        await asyncio.sleep(LOOK_S)
