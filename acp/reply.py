"""An answer or an error in, a reply out: the one place where errors become answers."""

from dataclasses import dataclass

from pydantic import BaseModel

from acp import codec, headers
from acp.markdown import document
from acp.outbox import digest
from schemas.command import RespondFormat
from schemas.error import AgentError, ErrorCode, ErrorReply

REFUSED = (ErrorCode.INVALID_JSON, ErrorCode.MISSING_CMD, ErrorCode.TOO_LARGE, ErrorCode.INTERNAL)


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back to the sender, at whichever door."""

    body: bytes
    error: ErrorCode | None = None
    detail: str = ""
    status: int = 200
    job: str | None = None

    @property
    def refused(self) -> bool:
        """Whether the message was unreadable or broke its handler, so that a copy goes to the dead letters."""
        return self.error in REFUSED

    def headers(self, agent: str) -> dict[str, str]:
        """Headers of the reply on NATS: an error shows as micro services show theirs."""
        head = {headers.FROM: agent, headers.DIGEST: digest(self.body)}
        if self.job is not None:
            head[headers.JOB] = self.job
        if self.error is not None:
            head["Nats-Service-Error"] = self.error.value
            head["Nats-Service-Error-Code"] = str(self.status)
        return head


def accepted(answer: BaseModel, job: str) -> Reply:
    """The acceptance of a job: JSON, whatever format is asked of what the job comes to."""
    return Reply(answer.model_dump_json(exclude_none=True).encode(), status=202, job=job)


def answered(answer: BaseModel, respond_format: RespondFormat, text: str | None = None) -> Reply:
    """`answer` in the asked format: JSON of the model, or Markdown (`text` where there is one) in a `markdown` key."""
    body = answer.model_dump_json(exclude_none=True).encode()
    if respond_format is RespondFormat.MARKDOWN:
        plain = codec.decode_own(body)
        body = codec.encode({"markdown": text or document(plain), "hash": plain.get("hash", "answer_v1")})
    return Reply(body)


def timed_out(limit_s: float) -> Reply:
    """The reply where an answer took too long."""
    return failed(AgentError(ErrorCode.TIMEOUT, f"no answer within {limit_s:g} s; try again"))


def failed(error: AgentError, commands: tuple[str, ...] = ()) -> Reply:
    """The answer that `error` turns into."""
    body = ErrorReply.of(error, commands).model_dump_json(exclude_defaults=True).encode()
    return Reply(body, error=error.code, detail=error.detail, status=error.rule.status)
