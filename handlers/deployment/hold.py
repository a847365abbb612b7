"""One step of a rollout: a share in, held until its requests are judged, what was seen and the verdict out."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from executors.deploy import haproxy, verdict
from executors.deploy.requests import RequestLog, service
from executors.process import GRACE_S
from handlers.deployment.desk import Desk
from handlers.deployment.quality import LiveQuality
from schemas.deployment import Deployment, JudgedMetric, Judgement, RolloutStep, Route
from schemas.error import AgentError
from schemas.measurement import GateVerdict
from schemas.traffic import RequestSeen

LOOK_S = 0.25
SPEAK_S = 10.0
DEAD_S = 30.0
"""A gateway or a release that nobody could reach for so long will not come back by itself."""
TAKE_BACK = "take-back"
"""The file in a deployment's folder by which an operator takes a rollout back."""


@dataclass
class Hold:
    """One share, as long as it is held."""

    desk: Desk
    now: Deployment
    limits: verdict.Limits
    share: float
    progress: float
    quality: LiveQuality | None = None
    """Judged while this step lasts; the step does not pass before it has."""
    _rows: list[RequestSeen] = field(default_factory=list)

    async def run(self) -> RolloutStep:
        """Hold until it is decided.

        Raises:
            AgentError: where the gateway does not come back.
        """
        began, spoke, heard = time.time(), 0.0, time.monotonic()
        log = RequestLog(self.desk.site.log, from_end=True)
        judging = asyncio.create_task(self.quality.judged()) if self.quality else None
        try:
            while True:
                rows = log.new()
                self._rows += [row for row in rows if row.at_s >= began]
                if self.quality:
                    await self.quality.prompts.take(rows)
                try:
                    await self._keep_route()
                    heard = time.monotonic()
                except AgentError:
                    if time.monotonic() - heard > DEAD_S:
                        raise
                judgements = self._judged(judging)
                elapsed = time.time() - began
                ended = self._ended(judgements, elapsed)
                if ended is not None:
                    return self._step(judgements, elapsed, ended)
                if time.monotonic() - spoke > SPEAK_S:
                    spoke = time.monotonic()
                    await self._say()
                await asyncio.sleep(LOOK_S)
        finally:
            while judging and not judging.done():  # before Python 3.12 asyncio.wait_for may swallow a cancellation
                judging.cancel()
                await asyncio.wait({judging}, timeout=2 * GRACE_S)

    async def _keep_route(self) -> None:
        """Give the share again to a gateway that lost it in a restart."""
        gateway = self.desk.site.gateway
        route = Route(stable=self.now.route.stable, share=self.share)
        if await gateway.green() != haproxy.green_parts(route):
            await gateway.send(route)
        sampling = self.quality is not None and not self.quality.prompts.enough
        await gateway.sample(1.0 if sampling else 0.0)

    @property
    def _new(self) -> list[RequestSeen]:
        return [row for row in self._rows if row.slot == self.now.route.stable.other]

    @property
    def _old(self) -> list[RequestSeen]:
        return [row for row in self._rows if row.slot == self.now.route.stable]

    def _judged(self, judging: "asyncio.Task[Judgement] | None") -> tuple[Judgement, ...]:
        found = verdict.judge(self._new, self.limits)
        versus = self.desk.spec.compare
        effect = verdict.effect(self._old, self._new, versus, self.limits) if versus else None
        found = (*found, effect) if effect else found
        return (*found, judging.result()) if judging and judging.done() else found

    def _ended(self, judgements: Sequence[Judgement], elapsed: float) -> tuple[bool, str] | None:
        """Whether the step passed, and why; None while it is held."""
        waiting = self._waiting(judgements)
        against = self._against(judgements, elapsed, waiting)
        if against:
            return False, against
        return None if waiting else (True, "; ".join(item.sentence for item in judgements))

    def _against(self, judgements: Sequence[Judgement], elapsed: float, waiting: str) -> str:
        """Why the step is given up, empty where it is not. Undecided quality never passes."""
        settled = [
            item
            for item in judgements
            if item.verdict is GateVerdict.FAILED
            or (item.metric is JudgedMetric.QUALITY and item.verdict is GateVerdict.UNDECIDED)
        ]
        if settled:
            return settled[0].sentence
        if (self.desk.site.home.path / TAKE_BACK).exists():
            return "an operator took it back"
        versus, seen = self.desk.spec.compare, len(self._new)
        over = elapsed > self.desk.spec.hold_limit_s or (versus is not None and seen >= versus.requests)
        stop = f"undecided after {elapsed:.0f} s and {seen} requests, and undecided does not pass: {waiting}"
        return stop if over and waiting else ""

    def _waiting(self, judgements: Sequence[Judgement]) -> str:
        """What the step still waits for, empty where it may go on."""
        wanted, seen = self.desk.spec.requests, len(self._new)
        if seen < wanted:
            return f"{seen} of {wanted} requests seen"
        if self.quality and not any(item.metric is JudgedMetric.QUALITY for item in judgements):
            return f"quality is not judged yet, with {self.quality.prompts.sampling.sentence}"
        compared = [item for item in judgements if item.metric is JudgedMetric.EFFECT]
        if self.desk.spec.compare and not (compared and compared[0].verdict is GateVerdict.PASSED):
            return compared[0].sentence if compared else "too few requests to compare"
        return "; ".join(item.sentence for item in judgements if item.measured.value > item.limit)

    def _step(self, judgements: tuple[Judgement, ...], elapsed: float, ended: tuple[bool, str]) -> RolloutStep:
        candidate = self.now.in_slot(self.now.route.stable.other)
        return RolloutStep(
            share=self.share,
            seconds=elapsed,
            old=service(self._old, self.now.stable.label),
            new=service(self._new, candidate.label),
            judgements=judgements,
            quality=self.quality.decision if self.quality else None,
            sampling=self.quality.prompts.sampling if self.quality else None,
            passed=ended[0],
            sentence=ended[1],
        )

    async def _say(self) -> None:
        new = self._new
        seen = service(new, self.desk.label)
        detail = f"{self.share:.0%} of the requests to the new release: {len(new)} seen, {seen.failed} failed"
        await self.desk.say(detail, self.progress, service=seen)
