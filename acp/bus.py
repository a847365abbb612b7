"""Settings in, a NATS connection out that reconnects, counts what goes wrong and says whether it is up."""

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import nats.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext

from acp.credentials import check_credentials, naming
from acp.settings import Settings
from schemas.error import AgentError, ErrorCode

log = structlog.get_logger()
REQUEST_S = 3.0
RETRY_S = 0.5
TELL_EVERY_S = 1.0


class Bus:
    """One connection. Errors that NATS reports only to a callback are kept in `errors` and `counts`."""

    def __init__(self, settings: Settings, urls: tuple[str, ...]) -> None:
        self.settings = settings
        self.urls = urls
        self.nc = Client()
        self.js: JetStreamContext = self.nc.jetstream(timeout=REQUEST_S)
        self.counts: Counter[str] = Counter()
        self.denied: list[str] = []
        self._told = -TELL_EVERY_S
        self.closed = asyncio.Event()
        """Set once the connection has ended for good."""
        self.reconnected = asyncio.Event()
        """Set on every reconnection; whoever waits for it clears it."""
        self.refused = asyncio.Event()
        """Set when the broker refuses the credentials, at start or later."""

    @property
    def up(self) -> bool:
        """Whether the broker can be reached right now."""
        return self.nc.is_connected

    async def connect(self) -> None:
        """Connect, retrying until `connect_limit_s`.

        Raises:
            AgentError: `unauthorized` at once for bad credentials, `broker_unavailable` after the limit.
        """
        check_credentials(self.settings)
        connecting = asyncio.create_task(self.nc.connect(list(self.urls), **self._options()))
        refused = asyncio.create_task(self.refused.wait())
        try:
            await asyncio.wait(
                {connecting, refused}, timeout=self.settings.connect_limit_s, return_when="FIRST_COMPLETED"
            )
        finally:
            refused.cancel()
        if connecting.done():
            await connecting
            return
        connecting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await connecting
        if self.refused.is_set():
            raise AgentError(
                ErrorCode.UNAUTHORIZED, f"NATS refused the credentials at {', '.join(self.urls)}; check them"
            )
        limit = self.settings.connect_limit_s
        raise AgentError(
            ErrorCode.BROKER_UNAVAILABLE, f"no NATS server answered at {', '.join(self.urls)} within {limit:g} s"
        )

    async def close(self) -> None:
        """Flush what is waiting to be sent and close."""
        if self.up:
            with contextlib.suppress(nats.errors.Error):  # the broker may go away while we say good-bye
                await self.nc.flush(timeout=2)
        await self.nc.close()

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator["Bus"]:
        """This bus, connected and closed in the end."""
        await self.connect()
        try:
            yield self
        finally:
            await self.close()

    def _options(self) -> dict[str, Any]:
        settings = self.settings
        options: dict[str, Any] = {
            "name": settings.agent,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": RETRY_S,
            "connect_timeout": 5,
            "ping_interval": 10,
            "error_cb": self._on_error,
            "disconnected_cb": self._on_disconnected,
            "reconnected_cb": self._on_reconnected,
            "closed_cb": self._on_closed,
            "user": settings.nats_user,
            "password": settings.nats_password.get_secret_value() if settings.nats_password else None,
            "token": settings.nats_token.get_secret_value() if settings.nats_token else None,
            "nkeys_seed": str(settings.nats_nkey_file) if settings.nats_nkey_file else None,
            "user_credentials": str(settings.nats_creds_file) if settings.nats_creds_file else None,
        }
        if settings.nats_tls_ca is not None:
            with naming(settings.nats_tls_ca, settings.nats_tls_cert, settings.nats_tls_key):
                tls = ssl.create_default_context(cafile=settings.nats_tls_ca)
                if settings.nats_tls_cert is not None:
                    tls.load_cert_chain(settings.nats_tls_cert, settings.nats_tls_key)
            options["tls"] = tls
        return options

    async def _on_error(self, error: Exception) -> None:
        text = str(error)
        self.counts[type(error).__name__] += 1
        if "permissions violation" in text.lower():
            self.denied.append(text)
            log.error("nats_denied", error=text)
        elif isinstance(error, nats.errors.SlowConsumerError):
            self.counts["dropped"] += 1
            if monotonic() - self._told > TELL_EVERY_S:  # a line per message would be a flood of its own
                self._told = monotonic()
                log.error("nats_dropped", subject=error.subject, so_far=self.counts["dropped"])
        elif isinstance(error, nats.errors.AuthorizationError) or "authorization violation" in text.lower():
            self.refused.set()
            log.error("nats_refused", error=text)
        else:
            log.warning("nats_error", error=text, kind=type(error).__name__)

    async def _on_disconnected(self) -> None:
        self.counts["disconnects"] += 1
        log.warning("nats_disconnected")

    async def _on_reconnected(self) -> None:
        self.reconnected.set()
        log.info("nats_reconnected")

    async def _on_closed(self) -> None:
        self.closed.set()
