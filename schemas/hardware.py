"""Accelerators from the catalog and the host as probed: memory, bandwidth, arithmetic rates, links."""

from enum import StrEnum

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from schemas.base import Record
from schemas.evidence import Evidence


class AcceleratorKind(StrEnum):
    """What sort of device it is; decides which engines may run on it."""

    GPU = "gpu"
    CPU = "cpu"
    TPU = "tpu"
    ASIC = "asic"
    UNIFIED = "unified"


class Accelerator(Record):
    """One accelerator's published or probed facts.

    Memory in decimal gigabytes as drivers report it (a part sold with 80 GB has nearly 80 GiB), bandwidth in GB/s,
    rates in dense TFLOP/s (TOP/s for integers) by format name (`fp32`, `bf16`, `int8`, `fp8`, `fp4`), links in GB/s per
    direction, power in watts.
    """

    key: str
    name: str
    vendor: str
    kind: AcceleratorKind
    memory_gb: PositiveFloat
    bandwidth_gbs: PositiveFloat
    tflops: dict[str, PositiveFloat]
    link_gbs: NonNegativeFloat = 0.0
    internode_gbs: NonNegativeFloat = 0.0
    per_node: PositiveInt = 1
    power_w: NonNegativeFloat = 0.0
    aliases: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    """Kernel families it supports beyond its rates, for example `avx512`, `amx`, `sparse24`."""
    evidence: Evidence = Evidence.ASSUMED
    source: str


class Pool(Record):
    """A number of one accelerator that a plan may use."""

    accelerator: Accelerator
    count: PositiveInt


class HostFacts(Record):
    """The machine this agent runs on, probed in a second or two.

    Caches and memory in bytes; bandwidth in GB/s and arithmetic in GFLOP/s (fp32) keyed by thread count.
    """

    cpu: str
    cores: PositiveInt
    threads: PositiveInt
    isa: tuple[str, ...]
    cache_bytes: dict[str, PositiveInt]
    memory_bytes: PositiveInt
    memory_free_bytes: PositiveInt
    bandwidth_gbs: dict[int, PositiveFloat]
    gflops: dict[int, PositiveFloat]
    busy_cores: NonNegativeFloat
    """Cores that other work kept busy just before the probe: an engine that spins on those collapses."""
    load_average: NonNegativeFloat
    """Runnable processes over the last minute when probed: a busy host makes every measurement an upper bound."""
    gpus: tuple[str, ...] = ()
    """Names that `nvidia-smi` prints: engines are installed here for the processor alone."""
