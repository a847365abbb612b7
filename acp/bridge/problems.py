"""Errors in, problem details (RFC 9457) out: the one place where the bridge answers an error."""

import asyncio

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from acp import codec
from acp.intake import Crashed
from schemas.error import AgentError, ErrorBody, ErrorCode, ErrorReply

log = structlog.get_logger()
_OWN = {404: ErrorCode.NOT_FOUND, 405: ErrorCode.METHOD_NOT_ALLOWED, 413: ErrorCode.TOO_LARGE}
RETRY_AFTER_S = {ErrorCode.RATE_LIMITED: "1", ErrorCode.QUEUE_FULL: "5", ErrorCode.BROKER_UNAVAILABLE: "5"}


def problem(error: ErrorBody) -> web.Response:
    """The response for one error of the table."""
    body = {"type": f"urn:acp:error:{error.code}", "title": error.title, "status": error.status, "detail": error.detail}
    body["code"] = error.code
    if error.commands:
        body["commands"] = error.commands
    head = {"Retry-After": RETRY_AFTER_S[error.code]} if error.code in RETRY_AFTER_S else {}
    if error.code is ErrorCode.UNAUTHORIZED:
        head["WWW-Authenticate"] = "Bearer"
    return web.Response(
        body=codec.encode(body), status=error.status, headers=head, content_type="application/problem+json"
    )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into problem details."""
    try:
        return await handler(request)
    except AgentError as error:
        return problem(ErrorReply.of(error).error)
    except Crashed as crash:
        return problem(ErrorReply.model_validate_json(crash.reply.body).error)
    except TimeoutError:
        return problem(ErrorReply.of(AgentError(ErrorCode.TIMEOUT, "the request took too long")).error)
    except web.HTTPException as error:
        code = _OWN.get(error.status)
        if code is None:
            raise
        response = problem(
            ErrorReply.of(AgentError(code, f"{request.method} {request.path[:200]}: {error.reason}")).error
        )
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except (asyncio.CancelledError, ConnectionResetError):
        raise
    except Exception:
        log.exception("bridge_failed", path=request.path)
        sorry = AgentError(ErrorCode.INTERNAL, "this agent failed; its log says why")
        return problem(ErrorReply.of(sorry).error)
