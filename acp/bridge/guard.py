"""Who may come in, and how often: tokens, client certificates, browsers kept out, a rate per sender."""

import hmac
import ssl
from collections import OrderedDict
from functools import lru_cache
from time import monotonic

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from yarl import URL

from acp.bridge.dashboard import PAGES
from acp.credentials import naming
from acp.settings import LOOPBACK, Settings
from schemas.error import AgentError, ErrorCode
from schemas.job import Sender

OPEN = {"/healthz", "/readyz", *PAGES}
SENDER = web.RequestKey("sender", Sender)
SENDERS_KEPT = 4096


class Rate:
    """Token buckets, one per sender; the longest unseen are forgotten."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, sender: str) -> None:
        """Count one request.

        Raises:
            AgentError: `rate_limited`.
        """
        now = monotonic()
        tokens, seen = self._buckets.pop(sender, (self._per_s, now))
        tokens = min(self._per_s, tokens + (now - seen) * self._per_s)
        self._buckets[sender] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._buckets) > SENDERS_KEPT:
            self._buckets.popitem(last=False)
        if tokens < 1:
            raise AgentError(ErrorCode.RATE_LIMITED, f"more than {self._per_s:g} requests a second; slow down")


def guard(settings: Settings) -> Middleware:
    """The middleware that lets senders in and names them."""
    rate = Rate(settings.requests_per_s)
    secret = settings.http_token.get_secret_value().encode() if settings.http_token else None

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in OPEN:
            return await handler(request)
        request[SENDER] = _sender(request, secret)
        rate.take(request[SENDER].name if request[SENDER].verified else request.remote or "")
        return await handler(request)

    return admit


def _sender(request: web.Request, secret: bytes | None) -> Sender:
    """Who asks, as far as the bridge itself knows.

    Raises:
        AgentError: `unauthorized`; `forbidden` to a web page that reached an unguarded loopback address.
    """
    certificate = request.get_extra_info("peercert")
    if certificate:
        names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
        return Sender(name=names[0] if names else "certificate", verified=True)
    if secret is not None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").encode(errors="surrogateescape")
        if not hmac.compare_digest(given, secret):
            raise AgentError(ErrorCode.UNAUTHORIZED, "send the agent's token as Authorization: Bearer")
        return Sender(name="http", verified=True)
    if not _is_loopback(request.host) or _from_another_page(request):
        raise AgentError(
            ErrorCode.FORBIDDEN, "without a token only programs on this machine and the bridge's own page may ask"
        )
    return Sender(name="http")


def _from_another_page(request: web.Request) -> bool:
    """Whether a browser says that a page asks which is not the bridge's own."""
    own = f"{request.scheme}://{request.host}"
    site = request.headers.get("Sec-Fetch-Site", "none")
    return request.headers.get("Origin", own) != own or site not in {"none", "same-origin"}


@lru_cache(maxsize=64)
def _is_loopback(host: str) -> bool:
    try:
        return URL(f"//{host}").host in LOOPBACK
    except (ValueError, IndexError):  # a Host header that is no host at all: yarl says it either way
        return False


def tls(settings: Settings) -> ssl.SSLContext | None:
    """The bridge's TLS, with client certificates required where their authority is set."""
    if settings.http_tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with naming(settings.http_tls_cert, settings.http_tls_key, settings.http_tls_client_ca):
        context.load_cert_chain(settings.http_tls_cert, settings.http_tls_key)
        if settings.http_tls_client_ca is not None:
            context.load_verify_locations(settings.http_tls_client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
