"""Where things are on this machine, from INFERWRIGHT_* in the environment: the command line's half of the settings."""

import os
from pathlib import Path
from typing import Annotated

import psutil
from pydantic import Field, PositiveInt, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from executors.deploy.haproxy import GatewaySettings
from executors.deploy.kubectl import Cluster
from executors.process import Limits
from handlers.workshop import Effort, Workshop
from schemas.cluster import DNS_PATTERN


class Places(BaseSettings):
    """Each field is an environment variable: INFERWRIGHT_CACHE, INFERWRIGHT_MODELS and so on."""

    model_config = SettingsConfigDict(env_prefix="INFERWRIGHT_", env_nested_delimiter="__", frozen=True, extra="ignore")

    cache: Path = Path("~/.cache/inferwright")
    models: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders searched for weights, besides `models` in the cache; separated by colons, as in PATH."""
    price_file: Path | None = None
    calibration_text: Path | None = None
    evaluation_text: Path | None = None
    task_data: Path | None = None
    """Items for standard tasks of lm-evaluation-harness, a folder each."""
    endpoints: dict[str, str] = {}
    """URLs of OpenAI-compatible servers by the name of the model they serve, as JSON; their models may be judged."""
    kubeconfig: Path | None = None
    """With it, mode `deploy` brings what passed the gate up in that cluster instead of on this machine."""
    kube_namespace: str = Field(default="default", pattern=DNS_PATTERN)
    job_memory_bytes: PositiveInt | None = None
    """Address space of each tool and engine that a job starts; this machine's memory where absent."""
    gateway: GatewaySettings = GatewaySettings()
    """Of deployments: INFERWRIGHT_GATEWAY__QUEUE_LIMIT, INFERWRIGHT_GATEWAY__KEYS (JSON) and so on."""
    effort: Effort = Effort()
    """How long jobs measure: INFERWRIGHT_EFFORT__REQUESTS, INFERWRIGHT_EFFORT__MAX_THREADS and so on."""

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, raw: object) -> object:
        return tuple(part for part in raw.split(os.pathsep) if part) if isinstance(raw, str) else raw


def workshop() -> Workshop:
    """The workshop that the settings describe."""
    places = Places()
    cache = places.cache.expanduser()
    kubeconfig = places.kubeconfig
    return Workshop(
        cache=cache,
        memory=cache / "memory",
        model_roots=(cache / "models", *(root.expanduser() for root in places.models)),
        price_file=places.price_file,
        calibration_text=places.calibration_text,
        evaluation_text=places.evaluation_text,
        task_data=places.task_data,
        endpoints={name: url.rstrip("/") for name, url in places.endpoints.items()},
        cluster=Cluster(kubeconfig.expanduser(), places.kube_namespace) if kubeconfig else None,
        limits=Limits(memory=places.job_memory_bytes or psutil.virtual_memory().total),
        effort=places.effort,
        gateway=places.gateway,
    )
