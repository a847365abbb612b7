"""Live requests, answered by the new release as well while nobody sees its answers."""

import asyncio
import itertools
import time

import aiohttp

from executors.deploy.prompts import path_of
from executors.deploy.requests import RequestLog
from executors.measure.statistics import percentiles
from handlers.deployment.desk import Desk
from schemas.deployment import Deployment, ShadowRun
from schemas.error import AgentError, ErrorCode

LOOK_S = 0.25
ANSWER_S = 120.0


async def shadow(desk: Desk, now: Deployment) -> ShadowRun:
    """Replay sampled live requests as they come, until there were enough.

    They go to the new release's replicas in turn, no more at once than it has slots. Requests whose body was cut off
    in the sample are left out.

    Raises:
        AgentError: `timeout` where too few requests come.
    """
    candidate = now.in_slot(now.route.stable.other)
    urls = itertools.cycle(replica.url for replica in candidate.replicas)
    at_once = asyncio.Semaphore(candidate.strategy.max_sequences * len(candidate.replicas))
    took: list[float | None] = []
    wanted = desk.spec.shadow_requests
    log = RequestLog(desk.site.log, from_end=True)
    give_up = time.monotonic() + desk.spec.hold_limit_s

    async def replay(session: aiohttp.ClientSession, path: str, body: bytes, url: str) -> None:
        async with at_once:
            began = time.monotonic()
            try:
                async with session.post(url + path, data=body, headers={"Content-Type": "application/json"}) as answer:
                    await answer.read()
                    took.append((time.monotonic() - began) * 1e3 if answer.ok else None)
            except (aiohttp.ClientError, TimeoutError):
                took.append(None)

    await desk.say(f"{wanted} live requests go to the new release too; its answers are dropped", 0.8)
    timeout = aiohttp.ClientTimeout(total=ANSWER_S)
    async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as replays:
        sent = 0
        while sent < wanted and time.monotonic() < give_up:
            await desk.site.gateway.sample(1.0)
            for row in log.new():
                path = path_of(row.prompt)
                if path and sent < wanted:
                    sent += 1
                    replays.create_task(replay(session, path, row.prompt.encode(), next(urls)))
            await asyncio.sleep(LOOK_S)
    if sent < wanted:
        detail = f"only {sent} of {wanted} shadow requests came in {desk.spec.hold_limit_s:.0f} s"
        raise AgentError(ErrorCode.TIMEOUT, detail)
    served = [ms for ms in took if ms is not None]
    return ShadowRun(
        requests=len(took), failed=len(took) - len(served), latency=percentiles(served, "at the engine, no gateway")
    )
