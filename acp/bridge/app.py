"""HTTP requests in, the intake's answers out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import structlog
from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from acp import codec, headers
from acp.bridge import dashboard, events, metrics
from acp.bridge.guard import SENDER, guard, tls
from acp.bridge.live import Live
from acp.bridge.problems import problem, problems
from acp.bridge.reports import report
from acp.contracts import openapi
from acp.outbox import DeadLetter
from acp.reply import Reply
from acp.room import check_room
from acp.service import Backend, Service
from acp.settings import Settings
from schemas.error import AgentError, ErrorCode, ErrorReply, first_error
from schemas.exposure import Exposed, ScrapeTarget
from schemas.query import ListJobs

log = structlog.get_logger()
_LIST = TypeAdapter(ListJobs)
_TARGETS = TypeAdapter(tuple[ScrapeTarget, ...])


class Bridge:
    """The HTTP server. It answers `/healthz` from the start, and the rest once the agent is attached."""

    def __init__(self, settings: Settings, production: Callable[[], Exposed] = Exposed) -> None:
        """`production` says what is deployed, for `/metrics` and `/targets`; it may read files."""
        self._settings = settings
        self._production = production
        self._backend: Backend | None = None
        self._service: Service | None = None
        self._watchers = Live()
        self.url = ""

    def attach(self, backend: Backend, service: Service) -> None:
        """From now on there is an agent behind this door."""
        self._backend, self._service = backend, service

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["Bridge"]:
        """This bridge, listening until the context ends."""
        settings = self._settings
        runner = web.AppRunner(
            self.application(), auto_decompress=False, access_log=None, shutdown_timeout=1.0, keepalive_timeout=30.0
        )
        await runner.setup()
        context = tls(settings)
        try:
            await web.TCPSite(runner, settings.http_host, settings.http_port, ssl_context=context).start()
            host, port = runner.addresses[0][:2]
            self.url = f"{'https' if context else 'http'}://{host}:{port}"
            log.info("bridge_listening", url=self.url)
            yield self
        finally:
            await runner.cleanup()

    def application(self) -> web.Application:
        """The routes with their guards."""
        app = web.Application(middlewares=[problems, guard(self._settings)], client_max_size=codec.BODY_BYTES)
        app.on_shutdown.append(self._watchers.end)
        app.add_routes(
            [
                web.post("/acp", self._acp),
                web.get("/jobs", self._jobs),
                web.get("/jobs/{job}", self._job),
                web.delete("/jobs/{job}", self._cancel),
                web.get("/jobs/{job}/events", self._events),
                web.get("/jobs/{job}/report", self._report),
                web.get("/jobs/{job}/plan", self._plan),
                web.get("/live", self._live),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/targets", self._targets),
                web.get("/openapi.json", self._openapi),
                *(web.get(path, dashboard.page) for path in dashboard.PAGES),
            ]
        )
        return app

    def _agent(self) -> tuple[Backend, Service]:
        if self._backend is None or self._service is None or not self._service.healthy:
            raise AgentError(ErrorCode.BROKER_UNAVAILABLE, "the agent is not connected to NATS right now; try again")
        return self._backend, self._service

    async def _acp(self, request: web.Request) -> web.Response:
        _, service = self._agent()
        if request.content_type not in {"application/json", "application/octet-stream"}:
            raise AgentError(ErrorCode.UNSUPPORTED_MEDIA, f"{request.content_type} is not application/json")
        async with asyncio.timeout(self._settings.http_timeout_s):
            body = await request.read()
            head = headers.read(request.headers)
            reply = await service.intake.receive(service.intake.classify(body, head), head, request[SENDER])
        if reply is None:
            return web.Response(status=204)
        if reply.refused:
            why = DeadLetter(reply.error or "", reply.detail)
            await service.intake.bury(body, "http:/acp", dict(request.headers), why)
        return self._response(reply)

    def _response(self, reply: Reply) -> web.Response:
        if reply.error is not None:
            return problem(ErrorReply.model_validate_json(reply.body).error)
        head = reply.headers(self._settings.agent)
        if reply.job is not None:
            head["Location"] = f"/jobs/{reply.job}"
        return web.Response(body=reply.body, status=reply.status, headers=head, content_type="application/json")

    async def _jobs(self, request: web.Request) -> web.Response:
        backend, _ = self._agent()
        try:
            wanted = _LIST.validate_python({"cmd": "LIST_JOBS", **request.query})
        except ValidationError as error:
            raise AgentError(ErrorCode.INVALID_COMMAND, first_error(error)) from error
        return _json((await backend.jobs.list(wanted.limit, wanted.state)).model_dump_json(exclude_none=True))

    async def _job(self, request: web.Request) -> web.Response:
        backend, _ = self._agent()
        return _json((await backend.jobs.summary(request.match_info["job"])).model_dump_json(exclude_none=True))

    async def _cancel(self, request: web.Request) -> web.Response:
        backend, _ = self._agent()
        summary = await backend.jobs.cancel(request.match_info["job"], request[SENDER])
        return _json(summary.model_dump_json(exclude_none=True), status=202)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        backend, _ = self._agent()
        job = (await backend.jobs.summary(request.match_info["job"])).job
        last = request.headers.get("Last-Event-ID", "0")
        after = int(last) if last.isascii() and last.isdigit() and len(last) < 10 else 0  # noqa: PLR2004 - more updates than a job has
        return await events.stream(request, backend, job, after)

    async def _report(self, request: web.Request) -> web.Response:
        backend, _ = self._agent()
        summary = await backend.jobs.summary(request.match_info["job"])
        outcome = await backend.kit.ledger.outcome(summary.job)
        directory = self._settings.runs_dir / summary.job
        return await asyncio.to_thread(report, summary, outcome, directory, request.headers.get("Accept", ""))

    async def _plan(self, request: web.Request) -> web.Response:
        backend, _ = self._agent()
        job = (await backend.jobs.summary(request.match_info["job"])).job
        return await dashboard.plan(job, self._settings.runs_dir / job)

    async def _live(self, request: web.Request) -> web.StreamResponse:
        watching = self._watchers.watched(*self._agent())
        return await dashboard.live(request, watching, self._settings.http_timeout_s)

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _json('{"status":"alive"}')

    async def _readyz(self, _request: web.Request) -> web.Response:
        self._agent()
        check_room(self._settings)
        return _json('{"status":"ready"}')

    async def _metrics(self, _request: web.Request) -> web.Response:
        backend, service = self._agent()
        exposed = await asyncio.to_thread(self._production)
        body = metrics.render(backend.bus, service, exposed)
        return web.Response(body=body, content_type="text/plain", charset="utf-8")

    async def _targets(self, _request: web.Request) -> web.Response:
        """Engines and gateways, as Prometheus' HTTP service discovery reads them."""
        targets = (await asyncio.to_thread(self._production)).targets
        return _json(_TARGETS.dump_json(targets).decode())

    async def _openapi(self, _request: web.Request) -> web.Response:
        _, service = self._agent()
        return web.Response(
            body=codec.encode(openapi({cmd: route.command for cmd, route in service.intake.routes.items()})),
            content_type="application/json",
        )


def _json(body: str, status: int = 200) -> web.Response:
    return web.Response(body=body.encode(), status=status, content_type="application/json")
