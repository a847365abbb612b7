"""A release for other machines than this one: what to run there, how many, and the files that say so."""

from typing import Annotated, Self

from pydantic import Field, JsonValue, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from schemas.base import Record
from schemas.hardware import Accelerator
from schemas.plan import Strategy

DNS_PATTERN = r"^[a-z]([a-z0-9-]{0,40}[a-z0-9])?$"
"""RFC 1123 label, short enough for the suffixes that controllers append."""
WEIGHTS_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,200}$"
"""One name of a file or a folder; it becomes a path below the volume of models."""


class ClusterRelease(Record):
    """One strategy with its weights, as a cluster should serve it."""

    name: str = Field(pattern=DNS_PATTERN)
    """Of the service: its releases share it, and each has objects of its own, `<name>-v2`."""
    model: str
    version: str = Field(pattern=r"^[a-z0-9_]{1,40}$")
    """The strategy's label on the wire: `inf_opt_v2`."""
    job: str
    strategy: Strategy
    weights: str = Field(pattern=WEIGHTS_PATTERN)
    """File or folder in the volume of models."""
    arguments: tuple[str, ...]
    """The engine's own, without model and address."""
    environment: tuple[str, ...] = ()
    """`NAME=value` of the engine's process."""
    settings: str = ""
    """YAML of the file that an argument names; empty where there is none."""
    accelerator: Accelerator
    memory_gb: PositiveFloat
    """Decimal gigabytes of one replica, all of it."""
    weights_gb: NonNegativeFloat
    replicas: PositiveInt
    replicas_max: PositiveInt
    """What autoscaling may reach within the budget."""
    replicas_why: str
    """Where `replicas_max` comes from."""
    latency_p95_ms: PositiveFloat | None = None
    error_budget: float = Field(default=0.01, gt=0, lt=1)
    """Share of requests that may fail or be slower than `latency_p95_ms`."""
    canary: float | None = Field(default=None, ge=0, le=1)
    """Share of the requests to this release while another one serves the rest; None where it serves all."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.replicas_max < self.replicas:
            raise ValueError("replicas_max must be at least replicas")
        return self

    @property
    def slug(self) -> str:
        """Name of this release's own objects, so that it can run beside the one before."""
        return f"{self.name}-{self.version.rpartition('_')[2]}"

    @property
    def nodes(self) -> int:
        """Machines that one replica spans."""
        return -(-self.strategy.count // self.accelerator.per_node)


class EngineContainer(Record):
    """How one engine's published image is started on one vendor's accelerators, and what it tells Prometheus."""

    engine: str
    vendor: str
    """Of the accelerator, or `cpu`."""
    image: str
    command: tuple[str, ...]
    """Words before the plan's arguments; `{model}`, `{name}` and `{port}` are filled in."""
    port: int = Field(ge=1, le=65535)
    health: str
    metrics: str
    waiting: str
    """Gauge of queued requests; empty where the engine has none."""
    running: str
    kv_usage: str
    """Gauge, 0 to 1; empty where the engine has none."""
    latency: str
    """Histogram of seconds per request; empty where the engine has none."""
    buckets: tuple[float, ...]
    """Upper bounds of that histogram, as the engine sets them; empty where they are not known."""
    nodes: tuple[str, ...]
    """Words for a replica of several machines; empty where the engine has no way without a launcher of its own."""
    worker: tuple[str, ...]
    """Further words on every machine but the first."""
    source: str


class Placement(Record):
    """How a cluster knows an accelerator: the resource that is asked for and the label of its nodes."""

    accelerator: str
    resource: str
    label: str
    value: str
    source: str


Document = dict[str, JsonValue]
"""One object as it is written: YAML or JSON, nothing reads it again here."""


class Manifest(Record):
    """One file for a cluster."""

    file: Annotated[str, Field(pattern=r"^[a-z0-9-]+\.yaml$")]
    needs: str
    """The operator that must be installed; empty where plain Kubernetes does."""
    documents: tuple[Document, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """`Deployment/name` of each, for people and hand-offs."""
        return tuple(f"{item['kind']}/{metadata_name(item)}" for item in self.documents)


def metadata_name(document: Document) -> str:
    """An object's own name."""
    metadata = document["metadata"]
    if not isinstance(metadata, dict):
        raise TypeError("an object's metadata is a mapping")
    return str(metadata["name"])
