"""One release as a Ray Serve application: each replica is an engine of its own behind Ray's proxy. Runs under Ray only.

`serve run serve.yaml` beside this file starts it on any Ray cluster; `ray_run.py` on this machine alone. It needs the
standard library, Ray, and what `ray[serve]` brings. What the deployment uses stands above it: Ray copies the class with
what is defined by then.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterable

import aiohttp
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from ray import serve

PR_SET_PDEATHSIG = 1  # linux/prctl.h
POLL_S = 0.1
HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "host"})
"""RFC 9110, 7.6.1: they describe one connection, not the message."""
app = FastAPI()


class EngineArguments(BaseModel):
    """How a replica starts its engine; `{port}` in words and input becomes a free port of loopback."""

    command: list[str]
    standard_input: str = ""
    health: str = "/health"
    ready_s: float = 1800.0


async def _body(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with answer:
        async for chunk in answer.content.iter_any():
            yield chunk


def _kept(headers: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    return ((name, value) for name, value in headers if name.lower() not in HOP_BY_HOP)


def _start(arguments: EngineArguments) -> tuple[str, subprocess.Popen[bytes]]:
    """The engine, which dies with the replica however that one ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = [word.replace("{port}", port) for word in arguments.command]
    replica = os.getpid()

    def die_with_replica() -> None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != replica:
            os._exit(1)

    process = subprocess.Popen(  # noqa: S603 - words of the agent's own configuration
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        preexec_fn=die_with_replica,  # noqa: PLW1509 - no threads hold locks in the child
    )
    if process.stdin:
        process.stdin.write(arguments.standard_input.replace("{port}", port).encode())
        process.stdin.close()
    return f"http://127.0.0.1:{port}", process


@serve.deployment
@serve.ingress(app)
class Engine:
    """One engine process and the way to it."""

    def __init__(self, arguments: EngineArguments) -> None:
        self._health = arguments.health
        self._url, self._process = _start(arguments)
        self._session: aiohttp.ClientSession | None = None
        self._patience_s = arguments.ready_s
        self._ready = False

    async def check_health(self) -> None:
        """Ray replaces the replica where this raises; requests come once it has returned for the first time."""
        if self._process.poll() is not None:
            raise RuntimeError(f"the engine ended with status {self._process.returncode}")
        async with self._client().get(self._url + self._health) as answer:
            answer.raise_for_status()

    async def reconfigure(self, _: object) -> None:
        """Called before the first request: wait until the engine has loaded its weights."""
        async with asyncio.timeout(self._patience_s):
            while not self._ready:
                if self._process.poll() is not None:
                    raise RuntimeError(f"the engine ended with status {self._process.returncode}")
                with contextlib.suppress(aiohttp.ClientError):
                    async with self._client().get(self._url + self._health) as answer:
                        self._ready = answer.ok
                await asyncio.sleep(POLL_S)

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    async def forward(self, path: str, request: Request) -> Response:
        """Hand one request to the engine and its answer back, as it comes."""
        answer = await self._client().request(
            request.method,
            f"{self._url}/{path}",
            data=await request.body(),
            headers=dict(_kept(request.headers.items())),
        )
        return StreamingResponse(_body(answer), answer.status, headers=dict(_kept(answer.headers.items())))

    def __del__(self) -> None:
        """The replica is retired: Ray has let its requests finish."""
        self._process.terminate()
        self._process.wait(10)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        return self._session


def build(arguments: EngineArguments) -> serve.Application:
    """The application; how many replicas, and what each may use, stands in the Serve configuration."""
    return Engine.bind(arguments)
