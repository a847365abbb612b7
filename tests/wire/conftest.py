import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import nats
import pytest
import rehearsal
import structlog
from nats.aio.client import Client

from acp.service import Service
from acp.settings import Settings
from cli.serve import serve
from executors.broker import Broker

structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.ReturnLoggerFactory())


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    """A real nats-server of this test's own."""
    async with Broker(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> Settings:
    """Settings with short waits."""
    return Settings(
        nats_urls=(broker.url,),
        runs_dir=tmp_path / "runs",
        ack_wait_s=2.0,
        connect_limit_s=5.0,
        fetch_s=0.2,
        drain_s=5.0,
        handoff_s=0.5,
    )


@pytest.fixture
async def client(broker: Broker) -> AsyncIterator[Client]:
    """A peer's connection."""
    connection = await nats.connect(broker.url)
    yield connection
    await connection.close()


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Service]:
    """An agent in this process, drained in the end."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(settings, stop=stop, ready=ready.set_result, make_routes=rehearsal.routes))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    try:
        yield ready.result()
    finally:
        stop.set()
        await task


@pytest.fixture
def start() -> Callable[[Settings], contextlib.AbstractAsyncContextManager[Service]]:
    """Starts agents in this process."""
    return running


@pytest.fixture
async def agent(settings: Settings) -> AsyncIterator[Service]:
    """One agent in this process."""
    async with running(settings) as service:
        yield service
