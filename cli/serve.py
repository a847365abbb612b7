"""Settings in, a running agent out, until SIGINT or SIGTERM drains it."""

import asyncio
import contextlib
import signal
from collections.abc import Callable

import structlog

from acp.bridge.app import Bridge
from acp.bus import Bus
from acp.routes import Routes
from acp.service import Backend, Service
from acp.settings import Settings
from cli.places import workshop
from executors.broker import urls_or_embedded
from executors.deploy.exposure import FOLDER, Exposure
from handlers.registry import bind, discover
from handlers.services import Services

log = structlog.get_logger()
MakeRoutes = Callable[[Settings, Backend], Routes]


def own_services(settings: Settings, backend: Backend) -> Services:
    """What this agent's handlers may use."""
    return Services(settings.agent, backend.jobs, settings.runs_dir, workshop())


def own_routes(settings: Settings, backend: Backend) -> Routes:
    """Every handler of this package with its services."""
    return bind(discover(), own_services(settings, backend))


async def serve(
    settings: Settings,
    *,
    stop: asyncio.Event | None = None,
    ready: Callable[[Service], None] = lambda _: None,
    on_bridge: Callable[[Bridge], None] = lambda _: None,
    make_routes: MakeRoutes = own_routes,
    signals: bool = True,
) -> None:
    """Serve until `stop` is set or, with `signals`, SIGINT or SIGTERM comes; unfinished jobs are handed back.

    Raises:
        AgentError: where the broker cannot be reached, refuses the credentials or denies what the agent needs.
    """
    stop = stop or asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM) if signals else ():
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        production = Exposure(settings.runs_dir / FOLDER, settings.runs_dir)
        bridge = Bridge(settings, production.read)
        if settings.http:
            on_bridge(await stack.enter_async_context(bridge.serving()))
        urls = await stack.enter_async_context(urls_or_embedded(settings.nats_urls, settings.runs_dir / "broker"))
        if not settings.nats_urls:
            log.info("embedded_broker", url=urls[0], try_it=f"inferwright send FILE --nats {urls[0]}")
        bus = await stack.enter_async_context(Bus(settings, urls).connected())
        backend = await Backend.prepare(bus)
        service = Service(backend, make_routes(settings, backend))
        bridge.attach(backend, service)
        await service.run(stop, ready)
