"""Live prompts in, the gate's decision on a release out: scored as the baseline is, and deleted afterwards."""

import asyncio
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from executors import toolchain
from executors.compress.gguf import manifest
from executors.compress.methods import method
from executors.deploy.home import Home
from executors.deploy.prompts import Decode, LivePrompts
from executors.measure.gate import GateRule
from executors.measure.score import judge
from executors.serve.engine import text_of
from executors.worker import Workbench
from handlers.deployment.desk import Desk
from handlers.workbench.weights import Weights
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
        await self.prompts.filled.wait()
        desk = self.desk
        rule = GateRule(
            limit=desk.max_quality_loss, confidence=desk.spec.confidence, max_tokens=desk.spec.quality_tokens
        )
        log = desk.job.directory / "logs" / "judge-live.log"
        bench = Workbench(desk.tools, 1, log, limits=desk.workshop.limits)
        cache = desk.workshop.cache
        self.decision = await judge_live(desk.site.home, self.release, self.prompts, rule, bench=bench, cache=cache)
        await desk.say(self.decision.sentence, SHARE_DONE, gate=self.decision)
        return _judgement(self.decision)


async def judge_live(
    home: Home, release: Release, prompts: LivePrompts, rule: GateRule, *, bench: Workbench, cache: Path
) -> GateDecision:
    """The gate's decision on a release of the deployment in `home`, against its reference.

    It stands back for others; `bench` is for what llama.cpp loads, toolchains for other weights are in `cache`.

    Raises:
        AgentError: as `judge`; `toolchain_missing`.
    """
    scored = weights_at(home.path / release.weights, cache)
    limits = replace(bench.limits, niceness=STAND_BACK)
    private = home.path / "prompts"
    try:
        return await judge(
            home.path / release.reference,
            scored.path,
            text=prompts.write(private / "live.txt"),
            rule=rule,
            cache=private / "scores",
            bench=replace(bench, toolchain=scored.tools or bench.toolchain, limits=limits),
            engine=scored.engine,
        )
    finally:
        await asyncio.to_thread(shutil.rmtree, private, ignore_errors=True)


def weights_at(path: Path, cache: Path) -> Weights:
    """Weights of a release, with the engine that scores them and its toolchain: a folder's notes name its method.

    Raises:
        AgentError: `toolchain_missing`.
    """
    if not path.is_dir():
        return Weights(path)
    made = manifest(path)
    return Weights(path, made.engine, toolchain.find(method(made.method).toolchain, cache))


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
