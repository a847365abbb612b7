"""A live release judged on after its rollout: sampled prompts in, window after window, the latest verdict on disk out.

It stands back: it samples a share, judges one window at a time, and only while nobody waits for an engine.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import psutil
from pydantic import ValidationError

from executors.deploy.home import Home
from executors.deploy.prompts import Decode, LivePrompts
from executors.deploy.requests import RequestLog
from executors.deploy.site import Site
from executors.files import write_whole
from executors.measure.gate import GateRule
from schemas.command import QualityWatch
from schemas.deployment import Deployment, DeploymentState, Release
from schemas.error import AgentError, ErrorCode
from schemas.measurement import GateDecision, GateVerdict
from schemas.sampling import Drift, DriftState

LOOK_S = 1.0
EASE_S = 0.25
"""How often the queue is looked at while a window is judged."""
AGAIN_S = 30.0
"""After trouble, before the next try."""

Judge = Callable[[Release, LivePrompts, GateRule], Awaitable[GateDecision]]
Turn = Callable[[], AbstractAsyncContextManager[None]]


@dataclass
class DriftWatch:
    """Follows one deployment until it is cancelled."""

    site: Site
    judge: Judge
    """The gate of before the deployment and of the rollout."""
    decode: Callable[[Release], Decode]
    turn: Turn
    """Held while a window is judged: one at a time on this machine."""
    look_s: float = LOOK_S

    async def run(self) -> None:
        """Judge window after window; trouble is written down, and tried again.

        Raises:
            AgentError: `not_found` once the deployment is taken down, or nobody wants it to be watched.
        """
        while True:
            try:
                pause_s = await self._window()
            except AgentError as error:
                if error.code is ErrorCode.NOT_FOUND:
                    raise
                self._tell(sentence=f"The last window came to nothing: {error.detail}")
                pause_s = AGAIN_S
            await asyncio.sleep(pause_s)

    async def _window(self) -> float:
        """One window; how long to rest after it."""
        now = self.site.known()
        if not _at_rest(now):
            self._tell(state=DriftState.IDLE, sentence="A rollout is under way, which judges quality itself.")
            return self.look_s
        release = now.stable
        if release.weights == release.reference:
            self._tell(state=DriftState.IDLE, sentence=f"{release.label} is the untouched model: nothing is lost.")
            return self.look_s
        self._begin(release)
        prompts = LivePrompts(self._drift.watch.tokens, self.decode(release))
        if not await self._sampled(release, prompts):
            return self.look_s
        decision = await self._judged(release, prompts)
        if not self._serves(release):
            return self.look_s  # judged too late: another serves
        words = f"{release.label}, window {self._drift.window}, on {prompts.sampling.sentence}: {decision.sentence}"
        breached = self._drift.breached
        if decision.verdict is GateVerdict.FAILED:
            breached = (*(number for number in breached if number != release.number), release.number)
        self._tell(
            state=DriftState.RESTING,
            decision=decision,
            judged_at_s=time.time(),
            breached=breached,
            sentence=words,
        )
        if decision.verdict is GateVerdict.FAILED:
            await self._answer_breach()
        return self._drift.watch.pause_s

    async def _sampled(self, release: Release, prompts: LivePrompts) -> bool:
        """Sample until there is enough; False where another release serves by then."""
        log = RequestLog(self.site.log, from_end=True)
        gateway = self.site.gateway
        while not prompts.enough:
            if not self._serves(release):
                return False  # whoever rolls out says what is sampled now
            await gateway.sample(self._drift.watch.share)  # a restarted gateway samples nothing
            await prompts.take(log.new())
            self._tell(sampling=prompts.sampling)
            await asyncio.sleep(self.look_s)
        await gateway.sample(0.0)
        return True

    async def _judged(self, release: Release, prompts: LivePrompts) -> GateDecision:
        self._tell(state=DriftState.WAITING, sampling=prompts.sampling)
        # Windows of a release share one error: 1/2 + 1/6 + 1/12 + ... = 1, however many there will be.
        number = self._drift.window
        alpha = (1 - self._drift.watch.confidence) / (number * (number + 1))
        rule = GateRule(limit=self._drift.limit, confidence=1 - alpha, max_tokens=self._drift.watch.tokens)
        async with self.turn():
            while await self._waiting(release):  # noqa: ASYNC110 - the queue is another process's
                await asyncio.sleep(EASE_S)
            self._tell(state=DriftState.JUDGING)
            async with self._standing_back(release):
                return await self.judge(release, prompts, rule)

    @contextlib.asynccontextmanager
    async def _standing_back(self, release: Release) -> AsyncIterator[None]:
        """The body, whose processes stop while anybody waits for an engine."""

        async def ease() -> None:
            while True:
                halt = await self._waiting(release)
                for process in _scorers():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.suspend() if halt else process.resume()
                await asyncio.sleep(EASE_S)

        easing = asyncio.create_task(ease())
        try:
            yield
        finally:
            easing.cancel()
            await asyncio.gather(easing, return_exceptions=True)

    async def _waiting(self, release: Release) -> bool:
        """Whether requests wait; a gateway that does not answer is in need of the machine, too."""
        try:
            return (await self.site.gateway.backend(release.slot)).queued > 0
        except AgentError:
            return True

    async def _answer_breach(self) -> None:
        """Give everybody the release before, where that is wanted and one is kept that never was beyond the limit."""
        now = self.site.known()
        if not self._drift.watch.rollback or not _at_rest(now):
            return
        before = now.previous
        if before is None or before.number in self._drift.breached:
            why = "no release is kept before it" if before is None else f"{before.label} was beyond the limit, too"
            self._tell(sentence=f"{self._drift.sentence} It serves on: {why}.")
            return
        settled = await self.site.go_back(now)
        self._tell(sentence=f"{self._drift.sentence} {settled.stable.label} serves all requests again.")

    def _serves(self, release: Release) -> bool:
        now = self.site.known()
        return _at_rest(now) and now.stable.number == release.number

    def _begin(self, release: Release) -> None:
        """Go on with the windows of this release, or begin with its first."""
        before = self._drift
        if before.release == release.number:
            self._tell(state=DriftState.SAMPLING, window=before.window + 1)
        else:
            first = {"state": DriftState.SAMPLING, "release": release.number, "window": 1}
            self._tell(**first, sampling=None, decision=None, judged_at_s=None, sentence="")

    @property
    def _drift(self) -> Drift:
        """What was said last.

        Raises:
            AgentError: `not_found` once nobody wants it to be watched any more.
        """
        found = drift_of(self.site.home)
        if found is None:
            raise AgentError(ErrorCode.NOT_FOUND, f"{self.site.home.name} is not watched")
        return found

    def _tell(self, **more: object) -> None:
        before = self._drift
        told = before.model_copy(update=more)
        if told != before:
            _save(self.site.home, told)


def begin(home: Home, spec: QualityWatch, limit: float) -> None:
    """Watch from now on as `spec` says; what was seen of a release that still serves is kept."""
    before = drift_of(home) or Drift(watch=spec, limit=limit, state=DriftState.IDLE)
    _save(home, before.model_copy(update={"watch": spec, "limit": limit}))


def drift_of(home: Home) -> Drift | None:
    """What the watch of a deployment last said; None where it was never watched, or by an agent of another version."""
    try:
        return Drift.model_validate_json(home.drift.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def forget(home: Home) -> None:
    """What was said is no longer said."""
    home.drift.unlink(missing_ok=True)


def _save(home: Home, drift: Drift) -> None:
    write_whole(home.drift, drift.model_dump_json(indent=1))


def _at_rest(now: Deployment) -> bool:
    return now.state is DeploymentState.LIVE and now.candidate is None


def _scorers() -> list[psutil.Process]:
    """What this process's guards run; the guards themselves must go on, to end them."""
    return [process for guard in psutil.Process().children() for process in guard.children(recursive=True)]
