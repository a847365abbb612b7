"""What the gateway's log tells: each request as it was served, and what they add up to."""

from pydantic import NonNegativeFloat, NonNegativeInt

from schemas.base import Record
from schemas.evidence import Estimate


class RequestSeen(Record):
    """One request as the gateway logged it. Times in milliseconds, -1 where it never came so far."""

    at_s: float
    """When it came, seconds since 1970."""
    slot: str
    """`blue`, `green`, or the frontend's name where it was refused."""
    server: str
    """The replica, or `door` where it came by the door of those without priority."""
    status: int
    queue_ms: float
    first_ms: float
    """From connecting to the engine until its first bytes."""
    total_ms: float
    bytes: NonNegativeInt
    end: str
    """HAProxy's session state at disconnection; `--` is a normal end, a first `C` the client's own abort."""
    priority: int = 0
    """Lower is served first."""
    sender: str = ""
    """`Acp-From`, as claimed."""
    prompt: str = ""
    """The beginning of the body, where it was sampled."""

    @property
    def busy_s(self) -> float:
        """Seconds in which a slot worked for it; none where it never left the queue."""
        return max(0.0, self.total_ms - max(0.0, self.queue_ms)) / 1000 if self.first_ms >= 0 else 0.0

    def slow(self, limit_ms: float | None) -> bool:
        """Whether it was answered later than agreed."""
        return limit_ms is not None and not self.failed and self.total_ms > limit_ms

    @property
    def failed(self) -> bool:
        """Whether the service failed or refused: not what the client broke off or asked wrongly."""
        answered = 100 <= self.status < 500 and self.status != 429  # noqa: PLR2004 - HTTP
        return not self.end.startswith("C") and not (answered and self.end.startswith("-"))


class SenderCost(Record):
    """What one sender's requests at one release took over a window, and what that cost."""

    release: str
    sender: str
    """As claimed."""
    requests: NonNegativeInt
    busy_s: NonNegativeFloat
    """Seconds in which a slot worked for it: from the end of the wait in the gateway's queue to the last byte."""
    usd_per_1k: Estimate | None = None
    """US dollars per 1,000 of its requests; None where the release's price is not known."""


class Burn(Record):
    """How fast a release spends its error budget over a window: at 1, a month's budget is spent in a month."""

    release: str
    window_s: NonNegativeFloat
    requests: NonNegativeInt
    bad: NonNegativeInt
    """Failed, or slower than agreed."""
    budget: float
    """Share of requests that may be bad."""
    rate: NonNegativeFloat
