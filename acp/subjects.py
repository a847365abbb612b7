"""An agent's name in; its NATS subjects, streams, consumers and buckets out."""

import re
from dataclasses import dataclass

_NOT_A_TOKEN = re.compile(r"[^A-Za-z0-9_-]")
ANONYMOUS = "anonymous"


def token(name: str) -> str:
    """`name` as one subject token: nothing in it can widen a subject."""
    return _NOT_A_TOKEN.sub("_", name)[:64] or ANONYMOUS


def peer_command(peer: str) -> str:
    """Where a peer listens for commands."""
    return f"acp.{token(peer)}.cmd"


@dataclass(frozen=True)
class Subjects:
    """Every name that one agent uses on a broker."""

    agent: str

    @property
    def command(self) -> str:
        """The micro endpoint."""
        return f"acp.{self.agent}.cmd"

    @property
    def command_verified(self) -> str:
        """The micro endpoint for senders whose token the broker's permissions vouch for: `acp.<agent>.cmd.<sender>`."""
        return f"acp.{self.agent}.cmd.*"

    @property
    def inbox(self) -> str:
        """Commands left for later; `acp.<agent>.inbox.<sender>` where the broker vouches for the sender."""
        return f"acp.{self.agent}.inbox"

    def work(self, sender: str) -> str:
        """Accepted jobs of one sender, so that the broker itself caps how many wait."""
        return f"acp.{self.agent}.work.{token(sender)}"

    def status(self, job: str) -> str:
        """Updates of one job."""
        return f"acp.{self.agent}.status.{token(job)}"

    @property
    def statuses(self) -> str:
        """Updates of every job."""
        return f"acp.{self.agent}.status.*"

    def answer(self, message: str) -> str:
        """The answer to a command left in the inbox."""
        return f"acp.{self.agent}.answer.{token(message)}"

    def answer_to(self, seq: int) -> str:
        """The answer to the inbox's message `seq`, which had no id; `=` keeps it apart from what senders name."""
        return f"acp.{self.agent}.answer.=inbox-{seq}"

    @property
    def dead_letters(self) -> str:
        """Refused and poisonous messages."""
        return f"acp.{self.agent}.dlq"

    def stream(self, kind: str) -> str:
        """A stream of this agent: `work`, `inbox`, `status` or `dlq`."""
        return f"acp-{self.agent}-{kind}"

    @property
    def bucket(self) -> str:
        """The key-value bucket of the ledger."""
        return f"acp-{self.agent}-jobs"

    @property
    def objects(self) -> str:
        """The object store for answers too large for one message."""
        return f"acp-{self.agent}-objects"

    def sender(self, subject: str) -> str | None:
        """The sender's token at the end of a verified subject, None on a plain one."""
        parts = subject.split(".")
        return parts[3] if len(parts) == 4 and parts[2] in {"cmd", "inbox"} else None  # noqa: PLR2004 - acp.<agent>.<door>.<sender>
