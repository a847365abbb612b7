"""Live prompts in, the gate's decision on the new release out: scored as the baseline is, and deleted afterwards."""

import asyncio
import shutil
from dataclasses import dataclass, replace

from executors.deploy.prompts import Decode, LivePrompts
from executors.measure.gate import GateRule
from executors.measure.score import judge
from executors.serve.engine import text_of
from executors.worker import Workbench
from handlers.deployment.desk import Desk
from schemas.deployment import JudgedMetric, Judgement, Release
from schemas.error import AgentError
from schemas.evidence import Estimate, Evidence
from schemas.measurement import GateDecision

SHARE_DONE = 0.82
"""Of the job, when quality is judged: in the first step of the rollout."""
STAND_BACK = 19
"""Niceness of the scorer: it must not slow down those whom it judges."""


@dataclass
class LiveQuality:
    """The gate on what people ask: the same rule, text and scorer as before the deployment, but for the text."""

    desk: Desk
    release: Release
    prompts: LivePrompts
    decision: GateDecision | None = None

    async def judged(self) -> Judgement:
        """Wait for enough prompts, then score."""
        self.decision = await self._decide()
        await self.desk.say(self.decision.sentence, SHARE_DONE, gate=self.decision)
        return _judgement(self.decision)

    async def _decide(self) -> GateDecision:
        desk, home = self.desk, self.desk.site.home
        await self.prompts.filled.wait()
        rule = GateRule(
            limit=desk.max_quality_loss, confidence=desk.spec.confidence, max_tokens=desk.spec.quality_tokens
        )
        limits = replace(desk.workshop.limits, niceness=STAND_BACK)
        bench = Workbench(desk.tools, 1, desk.job.directory / "logs" / "judge-live.log", limits=limits)
        private = home.path / "prompts"
        try:
            return await judge(
                home.path / self.release.reference,
                home.path / self.release.weights,
                text=self.prompts.write(private / "live.txt"),
                rule=rule,
                cache=private / "scores",
                bench=bench,
            )
        finally:
            await asyncio.to_thread(shutil.rmtree, private, ignore_errors=True)


def decoder(release: Release) -> Decode:
    """How token ids become text: an engine of this release is asked."""
    replica = release.replicas[0]

    async def decode(ids: tuple[int, ...]) -> str:
        try:
            return await text_of(replica.url, release.weights.name, ids)
        except AgentError:  # the prompt is counted as left out
            return ""

    return decode


def _judgement(decision: GateDecision) -> Judgement:
    quality = decision.quality
    return Judgement(
        metric=JudgedMetric.QUALITY,
        verdict=decision.verdict,
        measured=Estimate(
            value=quality.loss,
            low=quality.loss_low,
            high=quality.loss_high,
            unit="relative",
            evidence=Evidence.MEASURED,
            source=quality.text,
        ),
        limit=decision.limit,
        samples=quality.tokens,
        sentence=decision.sentence,
    )
