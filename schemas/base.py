"""What every record is: immutable, closed to unknown keys, strict about what it holds."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """An immutable value that passes between stages."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null", allow_inf_nan=False)
