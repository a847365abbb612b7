"""One deployment as a whole: releases in, engines, gateway and record moved from one safe state to the next out.

The order of every move is such that this agent may die between any two lines: the record and the gateway's files name
a safe state at all times, and each move may be made again.
"""

import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from executors.deploy import prometheus
from executors.deploy.answers import Answers
from executors.deploy.engines import Engines, free_ports, replicas
from executors.deploy.gateway import Gateway
from executors.deploy.haproxy import PROGRAM, GatewaySettings
from executors.deploy.home import Home
from executors.deploy.supervisor import Supervisor
from executors.files import locked
from schemas.deployment import AnswerCache, Deployment, DeploymentState, Release, Replica, Route, Slot
from schemas.error import AgentError, ErrorCode
from schemas.measurement import GateDecision
from schemas.plan import Strategy

DRAIN_S = 120.0
"""How long a release that leaves may take to finish its requests."""


@dataclass(frozen=True)
class Left:
    """How a release left."""

    back_s: float
    """Until it got no more new requests."""
    drained_s: float
    """From then until it had finished those it had."""


@dataclass(frozen=True)
class Site:
    """One deployment on this machine."""

    home: Home
    engines: Engines
    settings: GatewaySettings

    @property
    def gateway(self) -> Gateway:
        """Its gateway."""
        return Gateway(self.home, self.settings)

    @property
    def answers(self) -> Answers:
        """Its cache of answers, which is off unless somebody wants it."""
        return Answers(self.home)

    @property
    def log(self) -> Path:
        """The gateway's log of requests."""
        return self.home.logs / f"{PROGRAM}.log"

    def known(self) -> Deployment:
        """The deployment's record.

        Raises:
            AgentError: `not_found` where nothing is deployed under that name.
        """
        found = self.home.load()
        if found is None or found.state is DeploymentState.DOWN:
            raise AgentError(ErrorCode.NOT_FOUND, f"nothing is deployed as {self.home.name}")
        return found

    def release(
        self,
        before: Deployment | None,
        strategy: Strategy,
        weights: Path,
        reference: Path,
        *,
        gate: GateDecision | None = None,
        job: str = "",
    ) -> Release:
        """A new release for the place that is free, with its weights taken into the deployment's folder.

        It has as many replicas as the release that it is to replace.
        """
        slot = before.route.stable.other if before else Slot.BLUE
        return Release(
            number=before.numbered + 1 if before else 1,
            slot=slot,
            strategy=strategy,
            weights=self.home.adopt(weights),
            reference=self.home.adopt(reference),
            replicas=replicas(slot, max(strategy.replicas, len(before.stable.replicas) if before else 1)),
            gate=gate,
            job=job,
            since_s=time.time(),
        )

    async def open(self, model: str, release: Release) -> Deployment:
        """Put a first release into production: there is nothing yet to hold it against."""
        known = self.home.load()
        port, metrics_port, prometheus_port = free_ports(3)
        deployment = Deployment(
            name=self.home.name,
            model=model,
            state=DeploymentState.LIVE,
            port=known.port if known else port,
            metrics_port=known.metrics_port if known else metrics_port,
            prometheus_port=prometheus_port if prometheus.installed() else None,
            route=Route(stable=release.slot),
            releases=(release,),
            numbered=release.number,
        )
        await Supervisor(self.home).ensure()
        await self.engines.start(release, release.replicas)
        self.keep(deployment)
        await self.gateway.start(deployment)
        await self.gateway.until_up(release.slot, len(release.replicas))
        if deployment.prometheus_port:
            await Supervisor(self.home).keep(prometheus.program(self.home, deployment.prometheus_port))
        return deployment

    def keep(self, deployment: Deployment) -> Deployment:
        """Write down what is, for a restarted agent and for Prometheus."""
        prometheus.write_targets(self.home, deployment)
        return self.home.save(deployment)

    def both(self, before: Deployment, release: Release, state: DeploymentState) -> Deployment:
        """The record while `release` runs beside the stable one, with the replicas that this one has by now."""
        known = self.home.load() or before
        numbered = {item.number: item for item in known.releases}
        stable = numbered.get(before.stable.number, before.stable)
        numbered_now = max(before.numbered, release.number)  # a release that comes back keeps its number
        more = {"state": state, "releases": (stable, release), "numbered": numbered_now}
        return before.model_copy(update=more)

    async def add(self, before: Deployment, release: Release, state: DeploymentState) -> Deployment:
        """Start a release beside the stable one; it gets no request yet. One that runs already is left alone."""
        async with self._alone():
            now = self.keep(self.both(before, release, state))
            await self.answers.follow(now)
            await self.gateway.write(now)
            running = await Supervisor(self.home).running()
            lacking = [replica for replica in release.replicas if replica.name not in running]
            await self.engines.start(release, lacking)
            await self.gateway.place(release.slot, release)
            await self.gateway.until_up(release.slot, len(release.replicas))
            return now

    async def settle(self, now: Deployment, winner: Slot) -> tuple[Deployment, Left]:
        """Give every request to one release, let the other finish what it has, and stop it."""
        began = time.monotonic()
        await self.gateway.ready()  # it may just have been restarted
        await self.gateway.send(Route(stable=winner))  # before anything that could make it wait
        back_s = time.monotonic() - began
        async with self._alone():
            kept = now.in_slot(winner)
            previous = now.stable if winner is not now.route.stable else now.previous
            more = {
                "state": DeploymentState.LIVE,
                "route": Route(stable=winner),
                "releases": (kept,),
                "previous": previous,
            }
            settled = self.keep(now.model_copy(update=more))
            await self.gateway.write(settled)
            await self.answers.follow(settled)
            began = time.monotonic()
            await self.gateway.drain(winner.other, DRAIN_S)
            left = Left(back_s, time.monotonic() - began)
            await self.clear(winner.other)
            used = (kept, previous) if previous else (kept,)
            self.home.forget(path for release in used for path in (release.weights, release.reference))
            return settled, left

    async def go_back(self, now: Deployment) -> Deployment:
        """Start the release before the stable one again, and give it everything.

        Raises:
            AgentError: `not_found` where none is kept; `engine_failed`.
        """
        before = now.previous
        if before is None:
            raise AgentError(ErrorCode.NOT_FOUND, f"nothing served {now.name} before {now.stable.label}")
        slot = now.route.stable.other
        fresh = {"slot": slot, "replicas": replicas(slot, len(before.replicas)), "since_s": time.time()}
        again = before.model_copy(update=fresh)
        both = await self.add(now, again, DeploymentState.ROLLING_OUT)
        settled, _ = await self.settle(both, slot)
        return settled

    async def clear(self, slot: Slot) -> None:
        """Close a place and stop what runs in it."""
        await self.gateway.place(slot, None)
        running = await Supervisor(self.home).running()
        await self.engines.stop(name for name in running if name.startswith(f"{slot}-"))

    async def scale(self, count: int) -> Deployment:
        """Run `count` replicas of the stable release; those that leave finish their requests first.

        Raises:
            AgentError: `unsupported` while another release is on trial; `engine_failed`.
        """
        async with self._alone():
            now = self.known()
            if now.candidate is not None:
                detail = f"{now.name} is {now.state.value.replace('_', ' ')}: scale it when that has ended"
                raise AgentError(ErrorCode.UNSUPPORTED, detail)
            release = now.stable
            if count > len(release.replicas):
                more = replicas(release.slot, count - len(release.replicas), release.replicas)
                grown = _with(now, (*release.replicas, *more))
                await self.engines.start(release, more)
                await self._changed(grown)
                await self.gateway.until_up(release.slot, count)
                return grown
            stay, leave = release.replicas[:count], release.replicas[count:]
            await self.gateway.free(release.slot, [replica.name for replica in leave], DRAIN_S)
            shrunk = _with(now, stay)
            await self._changed(shrunk)
            await self.engines.stop(replica.name for replica in leave)
            return shrunk

    async def keep_answers(self, cache: AnswerCache | None) -> Deployment:
        """Keep answers before the gateway from now on as `cache` says, or no more.

        Raises:
            AgentError: `not_found`; `toolchain_missing` without NGINX, `tool_failed` where it does not start.
        """
        async with self._alone():
            now = self.known().model_copy(update={"cache": cache})
            if cache is None:
                await self.answers.stop()
            else:
                await self.answers.start(now, cache)
            return self.keep(now)

    def _alone(self) -> AbstractAsyncContextManager[None]:
        """The body while no other process changes what runs: an autoscaler and an agent may both want to."""
        return locked(self.home.path / "changing.lock", lambda: None)

    async def _changed(self, now: Deployment) -> None:
        self.keep(now)
        await self.gateway.write(now)
        await self.gateway.place(now.route.stable, now.stable)

    async def revive(self) -> bool:
        """Bring back what a crash of supervisor or machine took away; whether that was needed."""
        woken = await Supervisor(self.home).ensure()
        await self.gateway.ready()
        return woken

    async def take_down(self) -> None:
        """End every process of the deployment; its folder and its record stay."""
        await Supervisor(self.home).shut_down()
        for file in (self.home.path / "programs").glob("*.ini"):
            file.unlink()
        self.home.drift.unlink(missing_ok=True)
        found = self.home.load()
        if found is not None:
            self.home.save(found.model_copy(update={"state": DeploymentState.DOWN}))


def _with(now: Deployment, running: Sequence[Replica]) -> Deployment:
    """The record with these replicas of the stable release."""
    release = now.stable.model_copy(update={"replicas": tuple(running)})
    others = tuple(item for item in now.releases if item.slot is not release.slot)
    return now.model_copy(update={"releases": (release, *others)})
