"""A rollout from one release to the next: begin, shadow, step after step, and one of two safe states at the end.

This module is the flow on one page; every step of it is journaled, and may be done again by an agent that takes over.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from pydantic import PositiveFloat

from executors.deploy import verdict
from executors.deploy.prompts import LivePrompts
from executors.deploy.requests import since
from executors.deploy.site import Left
from handlers.deployment.desk import Desk
from handlers.deployment.hold import TAKE_BACK, Hold
from handlers.deployment.limits import latency_limit
from handlers.deployment.quality import LiveQuality, decoder
from handlers.deployment.shadow import shadow
from schemas.base import Record
from schemas.deployment import (
    Deployment,
    DeploymentState,
    Release,
    RolloutEnd,
    RolloutOutcome,
    RolloutStep,
    ShadowRun,
)
from schemas.error import AgentError, ErrorCode
from schemas.evidence import Estimate

LOST = frozenset({ErrorCode.LEASE_LOST, ErrorCode.BROKER_UNAVAILABLE})
"""Errors that say the rollout is no longer ours to end: another agent goes on with it."""
Make = Callable[[Deployment | None], Awaitable[Release]]


class Begun(Record):
    """What was there when the rollout began."""

    at_s: PositiveFloat
    before: Deployment | None
    release: Release


class Course(Record):
    """How far a rollout came. Journaled before anything is settled, so that the decision is made once."""

    steps: tuple[RolloutStep, ...] = ()
    shadow: ShadowRun | None = None
    limit: Estimate | None = None
    trouble: str = ""

    @property
    def passed(self) -> bool:
        """Whether every step did."""
        return not self.trouble and all(step.passed for step in self.steps)


async def roll_out(desk: Desk, model: str, make: Make) -> RolloutOutcome:
    """Put the release that `make` makes into production, or take it back.

    Raises:
        AgentError: `lease_lost` or `broker_unavailable` where another agent has it; whatever kept it from beginning.
    """
    fresh = False

    async def begin() -> Begun:
        nonlocal fresh
        fresh = True
        before = desk.site.home.load()
        live = before if before and before.state is not DeploymentState.DOWN else None
        if live and live.state is not DeploymentState.LIVE:
            detail = f"{live.name} is {live.state.value.replace('_', ' ')}; wait, or send ROLLBACK_DEPLOYMENT"
            raise AgentError(ErrorCode.UNSUPPORTED, detail)
        (desk.site.home.path / TAKE_BACK).unlink(missing_ok=True)
        return Begun(at_s=time.time(), before=live, release=await make(live))

    begun = await desk.step("begun", Begun, begin)
    before = begun.before

    async def carry_out() -> RolloutOutcome:
        return await (_next(desk, begun, before, resumed=not fresh) if before else _first(desk, model, begun))

    return await desk.step("outcome", RolloutOutcome, carry_out)


async def _first(desk: Desk, model: str, begun: Begun) -> RolloutOutcome:
    """Nothing was in production: the release serves everybody at once."""
    await desk.say(f"nothing is in production as {desk.site.home.name}: {begun.release.label} serves everybody", 0.95)
    await desk.site.take_down()  # what an attempt that was cut short may have left
    opened = await desk.site.open(model, begun.release)
    outcome = RolloutOutcome(
        deployment=opened.name,
        end=RolloutEnd.PROMOTED,
        sentence=f"{begun.release.label} serves all requests of {opened.name} at {opened.url}; nothing did before it.",
        old=None,
        new=begun.release.label,
        seconds=time.time() - begun.at_s,
    )
    desk.site.home.save(opened.model_copy(update={"last": outcome}))
    return outcome


async def _next(desk: Desk, begun: Begun, before: Deployment, *, resumed: bool) -> RolloutOutcome:
    """Beside what is in production, and in its place if it proves itself."""
    site = desk.site
    if resumed:
        woken = await site.revive()
        words = "supervisor and engines had to be started again" if woken else "engines and gateway were still running"
        await desk.say(f"another agent began this rollout and is gone; {words}", 0.8)
    course = await desk.step("course", Course, lambda: _course(desk, begun, before))
    now = site.both(before, begun.release, DeploymentState.ROLLING_OUT)
    winner = begun.release.slot if course.passed else before.route.stable
    settled, left = await site.settle(now, winner)
    outcome = _outcome(desk, begun, before, course, left).model_copy(update={"resumed": resumed})
    site.home.save(settled.model_copy(update={"last": outcome}))
    await desk.say(outcome.sentence, 0.99)
    return outcome


async def _course(desk: Desk, begun: Begun, before: Deployment) -> Course:
    """The steps, up to the last one or the first that did not pass; trouble of any kind is a reason to go back."""
    try:
        state = DeploymentState.COMPARING if desk.spec.compare else DeploymentState.ROLLING_OUT
        return await _held(desk, begun, await desk.site.add(before, begun.release, state))
    except AgentError as error:
        if error.code in LOST:
            raise
        return Course(trouble=error.detail)
    except BaseException:  # cancelled, or something nobody foresaw
        await asyncio.shield(_abandon(desk, begun, before))
        raise


async def _held(desk: Desk, begun: Begun, now: Deployment) -> Course:
    spec = desk.spec
    limit = await desk.step("limit", Estimate, lambda: latency_limit(desk, now))
    limits = verdict.Limits(
        latency_ms=limit.value, max_errors=spec.max_errors, confidence=spec.confidence, tuned=max(spec.requests, 2)
    )
    seen = await desk.step("shadow", ShadowRun, lambda: shadow(desk, now)) if spec.shadow_requests else None
    course = Course(limit=limit, shadow=seen)
    if seen and seen.failed > spec.max_errors * seen.requests:
        return course.model_copy(update={"trouble": f"{seen.failed} of {seen.requests} shadow requests failed"})
    prompts = LivePrompts(spec.quality_tokens, decoder(now.stable))
    quality = LiveQuality(desk, begun.release, prompts) if spec.judge_quality else None
    shares = (spec.compare.share,) if spec.compare else spec.steps
    for number, share in enumerate(shares):
        progress = 0.8 + 0.18 * number / len(shares)
        hold = Hold(desk, now, limits, share, progress, quality if number == 0 else None)
        await desk.say(f"{share:.0%} of the requests to {begun.release.label}", progress)
        done = await desk.step(f"step-{number}", RolloutStep, hold.run)
        course = course.model_copy(update={"steps": (*course.steps, done)})
        if not done.passed:
            break
    return course


async def _abandon(desk: Desk, begun: Begun, before: Deployment) -> None:
    """Nobody will watch the new release from now on: everybody gets the old one."""
    with contextlib.suppress(AgentError):  # a gateway that is gone comes back in the safe state by itself
        now = desk.site.both(before, begun.release, DeploymentState.ROLLING_OUT)
        await desk.site.settle(now, before.route.stable)


def _outcome(desk: Desk, begun: Begun, before: Deployment, course: Course, left: Left) -> RolloutOutcome:
    old, new, promoted = before.stable.label, begun.release.label, course.passed
    last = course.steps[-1] if course.steps else None
    share = f" at {last.share:.0%} of the requests" if last else ""
    why = (course.trouble or (last.sentence if last else "")).rstrip(".")
    said = f"{new} was promoted over {old}" if promoted else f"{new} was rolled back{share}: {why}"
    rows = since(desk.site.log, begun.at_s)
    return RolloutOutcome(
        deployment=before.name,
        end=RolloutEnd.PROMOTED if promoted else RolloutEnd.ROLLED_BACK,
        sentence=f"{said}. {new if promoted else old} serves all requests of {before.name}.",
        old=old,
        new=new,
        steps=course.steps,
        shadow=course.shadow,
        latency_limit_ms=course.limit.value if course.limit else None,
        breach=verdict.breach(last.judgements) if last else None,
        requests=len(rows),
        failed=sum(row.failed for row in rows),
        seconds=time.time() - begun.at_s,
        back_s=None if promoted else left.back_s,
        drained_s=left.drained_s,
    )
