"""Engines in production: a release in, its replicas up under the supervisor at ports that stay theirs out."""

import asyncio
import random
import socket
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from executors.deploy.home import Home
from executors.deploy.supervisor import Program, Supervisor
from executors.process import NO_LIMITS, Limits
from executors.serve.engine import Engine, until_healthy
from executors.serve.llamacpp import ENGINE
from executors.serve.registry import engine
from executors.toolchain import find
from executors.worker import SETTINGS
from schemas.deployment import Release, Replica, Slot
from schemas.error import AgentError, ErrorCode

FED = Path(__file__).parents[1] / "workers" / "fed.py"
PORTS = range(20_000, 32_000)
"""Below what Linux gives to outgoing connections, so that a port is still free when its engine comes back."""
TRIES = 200
LOOK_S = 0.5


@dataclass(frozen=True)
class Engines:
    """The engines of one deployment. `python` is the interpreter of `engine`'s toolchain; others are in `cache`."""

    home: Home
    python: Path
    limits: Limits = NO_LIMITS
    engine: Engine = ENGINE
    cache: Path | None = None

    def kind(self, name: str) -> tuple[Engine, Path]:
        """The engine that a strategy names, and its interpreter.

        Raises:
            AgentError: `not_available` for one that nothing here starts, `toolchain_missing`.
        """
        if name == self.engine.name:
            return self.engine, self.python
        chosen = engine(name)
        if self.cache is None:
            raise AgentError(ErrorCode.NOT_AVAILABLE, f"{self.home.name} runs {self.engine.name} only, not {name}")
        return chosen, find(chosen.toolchain, self.cache).python

    async def start(self, release: Release, replicas: Sequence[Replica]) -> None:
        """Start replicas of a release and wait until each answers.

        Raises:
            AgentError: as `kind`; `engine_failed` where one does not; all of them are stopped then.
        """
        keeper = Supervisor(self.home)
        chosen, python = self.kind(release.strategy.engine)
        weights = self.home.path / release.weights
        try:
            for replica in replicas:
                asked = self.home.path / "engines" / f"{replica.name}.json"
                launch = chosen.validate(release.strategy, weights).model_copy(update={"port": replica.port})
                asked.write_text(launch.model_dump_json())
                start = [sys.executable, "-I", "-S", str(FED), str(asked), str(self.limits.memory)]
                argv = [*start, str(release.niceness), str(python), "-s", "-E", "-B", str(chosen.worker)]
                environment = SETTINGS | {"OMP_NUM_THREADS": str(release.strategy.threads)}
                await keeper.keep(Program(replica.name, argv, environment))
            ready_s = chosen.ready_timeout_s
            await asyncio.gather(*(self._healthy(keeper, replica, ready_s) for replica in replicas))
        except BaseException:
            await self.stop(replica.name for replica in replicas)
            raise

    async def _healthy(self, keeper: Supervisor, replica: Replica, ready_s: float) -> None:
        """Wait until a replica answers; one that the supervisor has to start again and again never will."""
        waiting = asyncio.create_task(until_healthy(replica.url, ready_s))
        try:
            while not waiting.done():
                await asyncio.wait({waiting}, timeout=LOOK_S)
                if (await keeper.running())[replica.name].state in {"BACKOFF", "FATAL"}:
                    words = (self.home.logs / f"{replica.name}.err").read_text(errors="replace")[-500:].strip()
                    raise AgentError(ErrorCode.ENGINE_FAILED, f"{replica.name} dies as it starts: {words}")
            await waiting
        finally:
            waiting.cancel()

    async def stop(self, names: Iterable[str]) -> None:
        """Stop replicas and forget them."""
        for name in names:
            await Supervisor(self.home).drop(name)
            (self.home.path / "engines" / f"{name}.json").unlink(missing_ok=True)


def replicas(slot: Slot, count: int, taken: Sequence[Replica] = ()) -> tuple[Replica, ...]:
    """`count` new replicas of a release beside those that it has, each with a free port of its own.

    Raises:
        AgentError: `no_free_port`.
    """
    used = {replica.name for replica in taken}
    names = [name for number in range(1, count + len(taken) + 1) if (name := f"{slot}-{number}") not in used]
    return tuple(Replica(name=name, port=port) for name, port in zip(names[:count], free_ports(count), strict=True))


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on.

    Raises:
        AgentError: `no_free_port`.
    """
    found = [port for port in random.sample(PORTS, TRIES) if _free(port)][:count]
    if len(found) < count:
        raise AgentError(ErrorCode.NO_FREE_PORT, f"no {count} free ports of {PORTS.start} to {PORTS.stop} were found")
    return found


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
