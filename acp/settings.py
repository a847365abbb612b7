"""Environment variables `INFERWRIGHT_*` in, one frozen record out."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Settings(BaseSettings):
    """How this agent connects and what it allows. Times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="INFERWRIGHT_", frozen=True, extra="ignore")

    agent: str = Field(default="inference-optimization-specialist", pattern=r"^[a-z0-9-]{1,64}$")
    runs_dir: Path = Path("runs")

    nats_urls: Annotated[tuple[str, ...], NoDecode] = ()
    """Brokers, comma separated; empty starts one of our own on loopback."""
    nats_user: str | None = None
    nats_password: SecretStr | None = None
    nats_token: SecretStr | None = None
    nats_nkey_file: Path | None = None
    nats_creds_file: Path | None = None
    nats_tls_ca: Path | None = None
    nats_tls_cert: Path | None = None
    nats_tls_key: Path | None = None
    connect_limit_s: PositiveFloat = 60.0
    """How long to try at start before giving up."""
    broker_patience_s: PositiveFloat = 600.0
    """How long a job waits for a broker that went away."""

    concurrent_jobs: PositiveInt = 1
    queued_per_sender: PositiveInt = 10_000
    ack_wait_s: PositiveFloat = 30.0
    """A job whose owner shows no life for this long is given to another."""
    fetch_s: PositiveFloat = 1.0
    """How long one wait for work lasts: what a broker's death or a drain may cost."""
    stall_s: PositiveFloat = 900.0
    """A job that neither reports nor finishes a step for this long has stalled."""
    attempts: PositiveInt = 5
    job_wall_s: PositiveFloat = 6 * 3600.0
    job_disk_bytes: PositiveInt = 50 * 1000**3
    min_free_bytes: int = Field(default=256 * 1024**2, ge=0)
    """Free disk below which no job is accepted and the agent is not ready."""
    drain_s: PositiveFloat = 10.0
    answer_s: PositiveFloat = 30.0
    """How long an immediate answer may take."""
    answers_at_once: PositiveInt = 64
    requests_per_s: PositiveFloat = 1000.0
    """Rate limit per sender on the HTTP bridge; bursts of as many are allowed."""

    handoff_s: PositiveFloat = 30.0
    handoff_hops: PositiveInt = 4

    keep_s: PositiveFloat = 30 * 86400.0
    """How long statuses and ended jobs are kept."""
    dedupe_s: PositiveFloat = 3600.0
    replicas: int = Field(default=1, ge=1, le=5)
    """How many servers of a cluster hold each stream, the ledger and large answers; 3 outlives the loss of one."""
    stream_bytes: PositiveInt = 256 * 1024**2
    """Size of each stream; when the work stream is full, commands are refused with `queue_full`."""

    peers: dict[str, str] = {}
    """Names under which peers are found, where they differ: `{"ai-ml-engineer":"ml-engineer"}`."""

    operators: Annotated[tuple[str, ...], NoDecode] = ()
    """Verified senders who may cancel anybody's job."""

    http: bool = False
    """Whether to open the HTTP bridge."""
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8787, ge=0, le=65535)
    http_token: SecretStr | None = None
    http_tls_cert: Path | None = None
    http_tls_key: Path | None = None
    http_tls_client_ca: Path | None = None
    http_timeout_s: PositiveFloat = 30.0

    @field_validator("nats_urls", "operators", mode="before")
    @classmethod
    def _split(cls, raw: object) -> object:
        return tuple(part.strip() for part in raw.split(",") if part.strip()) if isinstance(raw, str) else raw

    @model_validator(mode="after")
    def _closed_by_default(self) -> Self:
        if self.http_tls_client_ca is not None and self.http_tls_cert is None:
            raise ValueError("client certificates need TLS: set INFERWRIGHT_HTTP_TLS_CERT and _HTTP_TLS_KEY too")
        if self.http_host not in LOOPBACK and self.http_token is None and self.http_tls_client_ca is None:
            raise ValueError(
                f"the bridge would be open to everyone on {self.http_host}: set INFERWRIGHT_HTTP_TOKEN, or "
                "INFERWRIGHT_HTTP_TLS_CLIENT_CA for mutual TLS, or bind 127.0.0.1"
            )
        return self
