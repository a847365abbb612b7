"""What a machine and an engine were busy with while load ran: CPU, GPU, memory, the engine's own figures, a profile."""

from pydantic import NonNegativeFloat, NonNegativeInt

from schemas.base import Record


class EngineMetrics(Record):
    """What the engine says of itself at `/metrics` while one level ran; None where it does not say."""

    running_peak: NonNegativeFloat | None = None
    """Requests being answered at once."""
    queue_mean: NonNegativeFloat | None = None
    queue_peak: NonNegativeFloat | None = None
    """Requests that wait for a place."""
    kv_used_peak: NonNegativeFloat | None = None
    """Share of the KV cache in use."""
    prompt_tokens: NonNegativeFloat | None = None
    """Prompt tokens computed; what came from a prefix cache is not among them."""
    generated_tokens: NonNegativeFloat | None = None
    scrapes: NonNegativeInt


class Resources(Record):
    """Use while one level ran. `cpu_util` is a fraction of all cores; GPU figures are null where there is no GPU."""

    cpu_util: NonNegativeFloat
    engine_cpu_seconds: NonNegativeFloat
    other_cores: NonNegativeFloat = 0.0
    """Cores that anything but the engine kept busy, the load generator included: much of it disturbs the figures."""
    rss_peak_mb: NonNegativeFloat
    rss_growth_mb_per_hour: float | None = None
    """Slope of memory over time (least squares), where the level lasted a minute or more."""
    gpu_util: NonNegativeFloat | None = None
    """Mean over the level and over all GPUs of the share of time in which a kernel ran (NVML)."""
    gpu_memory_peak_mb: NonNegativeFloat | None = None
    """Of all GPUs together."""
    gpu_power_w: NonNegativeFloat | None = None
    """Mean over the level of all GPUs together."""
    engine: EngineMetrics | None = None
    """None where the engine answers no `/metrics`."""


class Hotspot(Record):
    """One function and its share of the samples of one tool."""

    tool: str
    where: str
    """The function and the library or file that it is in."""
    share: NonNegativeFloat


class Profile(Record):
    """Where an engine spent its time under load, as sampled beside it."""

    seconds: NonNegativeFloat
    load: str
    """Under which load."""
    hotspots: tuple[Hotspot, ...]
    """Largest share first, tool by tool."""
    notes: tuple[str, ...]
    """Which tools could not be used and why, and what to run on a GPU host."""
