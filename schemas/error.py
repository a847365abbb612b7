"""The one error table: code, HTTP status, exit code, for NATS headers, the bridge and the command line."""

from enum import StrEnum
from typing import NamedTuple

from pydantic import ValidationError

from schemas.base import Record


class Rule(NamedTuple):
    """How one kind of error shows at each door."""

    status: int
    exit: int
    title: str


class ErrorCode(StrEnum):
    """Every error this agent can answer with; the value is its slug on the wire."""

    INVALID_JSON = "invalid_json"
    MISSING_CMD = "missing_cmd"
    UNKNOWN_CMD = "unknown_cmd"
    INVALID_COMMAND = "invalid_command"
    UNKNOWN_MODEL = "unknown_model"
    UNREADABLE_MODEL = "unreadable_model"
    UNSAFE_MODEL = "unsafe_model"
    UNKNOWN_HARDWARE = "unknown_hardware"
    UNKNOWN_JOB = "unknown_job"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UNSUPPORTED_MEDIA = "unsupported_media"
    UNSUPPORTED = "unsupported"
    NOT_AVAILABLE = "not_available"
    NOT_CANCELABLE = "not_cancelable"
    NOT_FINISHED = "not_finished"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    FORBIDDEN = "forbidden"
    UNAUTHORIZED = "unauthorized"
    RATE_LIMITED = "rate_limited"
    QUEUE_FULL = "queue_full"
    TOO_LARGE = "too_large"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    INFEASIBLE = "infeasible"
    TOOLCHAIN_MISSING = "toolchain_missing"
    TOOL_FAILED = "tool_failed"
    ENGINE_FAILED = "engine_failed"
    NO_FREE_PORT = "no_free_port"
    DISK_FULL = "disk_full"
    OUT_OF_MEMORY = "out_of_memory"
    BROKER_UNAVAILABLE = "broker_unavailable"
    LEASE_LOST = "lease_lost"
    DELEGATION_LOOP = "delegation_loop"
    INTERNAL = "internal"


ERRORS: dict[ErrorCode, Rule] = {
    ErrorCode.INVALID_JSON: Rule(400, 2, "The body is not acceptable JSON"),
    ErrorCode.MISSING_CMD: Rule(400, 2, "The message has neither a cmd nor a hash"),
    ErrorCode.UNKNOWN_CMD: Rule(404, 2, "This agent does not know that command"),
    ErrorCode.INVALID_COMMAND: Rule(422, 2, "A field of the command is not valid"),
    ErrorCode.UNKNOWN_MODEL: Rule(404, 2, "The model is not known"),
    ErrorCode.UNREADABLE_MODEL: Rule(422, 2, "The model's files cannot be read"),
    ErrorCode.UNSAFE_MODEL: Rule(422, 2, "The model's files could run code"),
    ErrorCode.UNKNOWN_HARDWARE: Rule(422, 2, "The hardware is not known"),
    ErrorCode.UNKNOWN_JOB: Rule(404, 2, "There is no such job"),
    ErrorCode.NOT_FOUND: Rule(404, 2, "There is nothing at that address"),
    ErrorCode.METHOD_NOT_ALLOWED: Rule(405, 2, "That address does not know the method"),
    ErrorCode.UNSUPPORTED_MEDIA: Rule(415, 2, "The body must be application/json"),
    ErrorCode.UNSUPPORTED: Rule(422, 2, "That combination cannot run"),
    ErrorCode.NOT_AVAILABLE: Rule(501, 4, "This agent cannot do that yet"),
    ErrorCode.NOT_CANCELABLE: Rule(409, 2, "The job has already ended"),
    ErrorCode.NOT_FINISHED: Rule(409, 2, "The job has not ended yet"),
    ErrorCode.IDEMPOTENCY_CONFLICT: Rule(409, 2, "The key was used for another body"),
    ErrorCode.FORBIDDEN: Rule(403, 2, "The sender may not do that"),
    ErrorCode.UNAUTHORIZED: Rule(401, 2, "The sender is not known"),
    ErrorCode.RATE_LIMITED: Rule(429, 4, "The sender asks too often"),
    ErrorCode.QUEUE_FULL: Rule(503, 4, "The queue is full"),
    ErrorCode.TOO_LARGE: Rule(413, 2, "The message is too large"),
    ErrorCode.TIMEOUT: Rule(504, 4, "It took longer than allowed"),
    ErrorCode.CANCELLED: Rule(409, 130, "The job was cancelled"),
    ErrorCode.INFEASIBLE: Rule(422, 3, "No plan meets every limit"),
    ErrorCode.TOOLCHAIN_MISSING: Rule(424, 4, "A toolchain is missing"),
    ErrorCode.TOOL_FAILED: Rule(500, 4, "A tool failed"),
    ErrorCode.ENGINE_FAILED: Rule(500, 4, "The inference engine failed"),
    ErrorCode.NO_FREE_PORT: Rule(503, 4, "No port is free"),
    ErrorCode.DISK_FULL: Rule(507, 4, "The disk is full"),
    ErrorCode.OUT_OF_MEMORY: Rule(507, 4, "There is not enough memory"),
    ErrorCode.BROKER_UNAVAILABLE: Rule(503, 4, "NATS cannot be reached"),
    ErrorCode.LEASE_LOST: Rule(409, 4, "Another agent took the job over"),
    ErrorCode.DELEGATION_LOOP: Rule(508, 2, "The hand-off goes in circles"),
    ErrorCode.INTERNAL: Rule(500, 1, "This agent failed"),
}


class AgentError(Exception):
    """An error with one sentence that says what is wrong and what to do; turned into an answer once, at the door."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail

    @property
    def rule(self) -> Rule:
        """How this error shows at each door."""
        return ERRORS[self.code]


def first_error(error: ValidationError, prefix: tuple[str, ...] = ()) -> str:
    """The first thing that is wrong with a record, behind the field it is in; `prefix` is where the record lies."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(part) for part in (*prefix, *first["loc"]))
    return f"{field}: {first['msg']}" if field else first["msg"]


class ErrorBody(Record):
    """What a sender reads about an error."""

    code: ErrorCode
    status: int
    title: str
    detail: str
    commands: tuple[str, ...] = ()
    """The commands there are, where the one asked for is not among them."""


class ErrorReply(Record):
    """An error as it goes over the wire."""

    error: ErrorBody
    hash: str = "error_v1"

    @classmethod
    def of(cls, error: AgentError, commands: tuple[str, ...] = ()) -> "ErrorReply":
        """The answer that `error` turns into."""
        status, _, title = error.rule
        body = ErrorBody(code=error.code, status=status, title=title, detail=error.detail, commands=commands)
        return cls(error=body)
