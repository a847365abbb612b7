"""One deployment's gateway: routes in, HAProxy told and its configuration kept in step out."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from executors.deploy import doors, haproxy
from executors.deploy.checked import put
from executors.deploy.haproxy import GatewaySettings
from executors.deploy.home import Home
from executors.deploy.runtime import BackendNow, Runtime
from executors.deploy.supervisor import Supervisor
from executors.files import write_whole
from schemas.deployment import Deployment, Release, Route, Slot
from schemas.error import AgentError, ErrorCode

READY_S = 15.0
POLL_S = 0.05
SETTINGS = "gateway.json"
"""What the gateway was last configured with, for programs that outlive the agent and its environment."""


@dataclass(frozen=True)
class Gateway:
    """HAProxy of one deployment."""

    home: Home
    settings: GatewaySettings

    @property
    def runtime(self) -> Runtime:
        """Its socket."""
        return Runtime(self.home.gateway_socket)

    async def write(self, deployment: Deployment) -> None:
        """The configuration of the safe state, checked by HAProxy itself before it takes the old one's place.

        Raises:
            AgentError: `tool_failed` with HAProxy's words.
        """
        for name, text in haproxy.maps(self.settings, Route(stable=deployment.route.stable)).items():
            write_whole(self.home.path / name, text)
        write_whole(self.home.path / SETTINGS, self.settings.model_dump_json())
        text = haproxy.config(self.home, deployment, self.settings)
        check = (haproxy.find(), "-c", "-q", "-f")
        await put(text, self.home.path / "gateway.cfg", "HAProxy", check, self.home.logs / "gateway-check.log")

    async def start(self, deployment: Deployment) -> None:
        """Bring it up in the safe state."""
        await self.write(deployment)
        await Supervisor(self.home).keep(haproxy.program(self.home))
        await self.ready()

    async def ready(self) -> None:
        """Wait until it answers.

        Raises:
            AgentError: `tool_failed`.
        """
        deadline = time.monotonic() + READY_S
        while True:
            try:
                await self.runtime.pid()
            except AgentError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(POLL_S)
            else:
                return

    async def place(self, slot: Slot, release: Release | None) -> None:
        """Make a backend's servers those of `release`, at run time; places that it does not use are closed."""
        states = {server.name: server.state for server in (await self.runtime.backends())[slot].servers}
        for name, address, at_once, used in haproxy.servers(release, slot):
            server = f"{slot}/{name}"
            if not used:
                if states[name] != "MAINT":
                    await self.runtime.order(f"set server {server} state maint")
                continue
            host, port = address.split(":")
            await self.runtime.ask(f"set server {server} addr {host} port {port}")  # it tells what changed
            await self.runtime.order(f"set maxconn server {server} {at_once}")
            await self.runtime.order(f"set server {server} state ready")

    async def until_up(self, slot: Slot, replicas: int) -> None:
        """Wait until so many replicas of a release take requests.

        Raises:
            AgentError: `engine_failed`.
        """
        deadline = time.monotonic() + READY_S
        while (up := (await self.backend(slot)).up) < replicas:
            if time.monotonic() > deadline:
                detail = f"only {up} of {replicas} replicas in {slot} pass the gateway's health check"
                raise AgentError(ErrorCode.ENGINE_FAILED, detail)
            await asyncio.sleep(POLL_S)

    async def send(self, route: Route) -> None:
        """Give the place on trial its share of new requests, from this moment on."""
        await self._map("green", haproxy.green_parts(route))

    async def sample(self, share: float) -> None:
        """Keep the prompts of this share of all requests in the log."""
        await self._map("sampled", round(share * haproxy.PARTS))

    async def doors(self, *, used: bool) -> None:
        """Whether those without priority come by the doors from now on."""
        await self._map(doors.KEY, int(used))

    async def let_in(self, slot: Slot, at_once: int) -> None:
        """How many of them may be with a release's engines at once; who waits longer is let in as others leave."""
        await self.runtime.order(f"set maxconn server {slot}{doors.REST}/{doors.DOOR} {at_once}")

    async def green(self) -> int:
        """The parts of all requests that the green place gets now."""
        return int((await self.runtime.mapped(self._share_map))["green"])

    async def backend(self, slot: Slot) -> BackendNow:
        """One release's backend as it is now."""
        return (await self.runtime.backends())[slot]

    async def drain(self, slot: Slot, limit_s: float) -> bool:
        """Wait until a release that gets no more requests has finished those it has; whether it did in time."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            now = await self.backend(slot)
            if now.open_requests == now.queued == 0:
                return True
            await asyncio.sleep(POLL_S)
        return False

    async def free(self, slot: Slot, replicas: Sequence[str], limit_s: float) -> bool:
        """Give single replicas no more requests and wait until they have finished theirs; whether all did in time."""
        for name in replicas:
            await self.runtime.order(f"set server {slot}/{name} state drain")
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            now = (await self.backend(slot)).servers
            if not any(server.open_requests for server in now if server.name in replicas):
                return True
            await asyncio.sleep(POLL_S)
        return False

    @property
    def _share_map(self) -> Path:
        return self.home.path / "share.map"

    async def _map(self, key: str, value: int) -> None:
        await self.runtime.order(f"set map {self._share_map} {key} {value}")


def kept_settings(home: Home) -> GatewaySettings | None:
    """What a deployment's gateway was last configured with; None where it never was."""
    file = home.path / SETTINGS
    return GatewaySettings.model_validate_json(file.read_bytes(), extra="ignore") if file.exists() else None
