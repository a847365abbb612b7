"""An agent with the real handlers and small effort, on a real broker, in this process; and what came of one command."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import jsonschema
import orjson

from acp.bridge.app import Bridge
from acp.routes import Routes
from acp.service import Backend
from acp.settings import Settings
from cli.send import Sent, Watch, send
from cli.serve import serve
from executors.broker import Broker
from handlers.registry import bind, discover
from handlers.services import Services
from handlers.workshop import Effort, Workshop
from schemas.base import Record
from schemas.status import InferenceStatus

SCHEMAS = Path(__file__).parents[2] / "docs" / "contracts" / "schemas"
SMALL = Effort(
    requests=4, rounds=3, level_limit_s=10, warmup=1, importance_tokens=512, judge_tokens=2_000, trials=2, max_threads=1
)


@dataclass
class Told:
    """A command's reply, its updates in order, and where its files are."""

    runs: Path
    sent: Sent | None = None
    updates: list[InferenceStatus] = field(default_factory=list)

    @property
    def final(self) -> InferenceStatus:
        """The terminal update."""
        return self.updates[-1]

    @property
    def directory(self) -> Path:
        """The job's files."""
        (directory,) = self.runs.glob("job-*")
        return directory


@contextlib.asynccontextmanager
async def agent(runs: Path, workshop: Workshop, bridges: list[Bridge] | None = None) -> AsyncIterator[str]:
    """A running agent; the URL of its broker. Where there is a list for it, its HTTP bridge is open too."""
    bridged = [] if bridges is None else bridges
    async with Broker(runs / "broker") as broker:
        urls = (broker.url,)
        settings = Settings(nats_urls=urls, runs_dir=runs, fetch_s=0.2, http=bridges is not None, http_port=0)

        def routes(own: Settings, backend: Backend) -> Routes:
            return bind(discover(), Services(own.agent, backend.jobs, own.runs_dir, workshop))

        stop, ready = asyncio.Event(), asyncio.Event()
        told = {"ready": lambda _: ready.set(), "on_bridge": bridged.append}
        serving = serve(settings, stop=stop, make_routes=routes, signals=False, **told)
        task = asyncio.create_task(serving)
        task.add_done_callback(lambda _: ready.set())
        await ready.wait()
        try:
            yield broker.url
        finally:
            stop.set()
            await task


def as_published(report: Path, kind: type[Record]) -> bytes:
    """A report's bytes, which keep to the schema that is published for its kind."""
    raw, schema = report.read_bytes(), orjson.loads((SCHEMAS / f"{kind.__name__}.json").read_bytes())
    jsonschema.validate(orjson.loads(raw), schema)
    return raw


async def tell(
    command: dict[str, object], runs: Path, workshop: Workshop, updates: list[InferenceStatus] | None = None
) -> Told:
    """Send one command to an agent of its own and follow it to its end; `updates` fills while it runs."""
    told = Told(runs, updates=[] if updates is None else updates)
    async with agent(runs, workshop) as url:
        told.sent = await send(command, url, watch=Watch(status=told.updates.append))
    return told
