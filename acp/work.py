"""A message of the work stream: all that a worker needs to carry a command out."""

from acp.headers import Headers
from schemas.job import JobRecord, Stored


class Work(Stored):
    """An accepted command with the record it starts from, should the ledger's have not been written."""

    record: JobRecord
    command: str
    """The command's JSON."""
    came_with: Headers
