"""Under which conditions figures were measured, in sentences: the machine, what else ran on it, the load."""

from collections.abc import Sequence

from schemas.hardware import HostFacts
from schemas.measurement import LoadReport
from schemas.text import counted

DISTURBING_CORES = 0.5
"""More than a load generator takes at the rates that a CPU answers."""


def machine(host: HostFacts) -> tuple[str, ...]:
    """The host with its measured rates, and how busy it was."""
    bandwidth = ", ".join(
        f"{value:.1f} GB/s with {counted(threads, 'thread')}" for threads, value in host.bandwidth_gbs.items()
    )
    rates = ", ".join(f"{value:.0f} GFLOP/s with {threads}" for threads, value in host.gflops.items())
    return (
        (
            f"Host: {host.cpu}, {host.cores} cores, {', '.join(host.isa)}, {host.memory_bytes / 1e9:.0f} GB; "
            f"measured {bandwidth}; {rates}."
        ),
        (
            f"When the job began, {host.busy_cores:.1f} of {host.threads} cores were busy with other work "
            f"(load average {host.load_average:.1f}); the load generator shares the machine with the engine."
        ),
    )


def disturbed(loads: Sequence[LoadReport]) -> tuple[str, ...]:
    """How many levels other work ran beside; nothing where none did."""
    levels = [level for load in loads for level in load.levels]
    count = sum(level.resources.other_cores > DISTURBING_CORES for level in levels)
    if not count:
        return ()
    disturbed = (
        f"In {count} of {counted(len(levels), 'level')} other work kept more than {DISTURBING_CORES:g} cores busy"
    )
    return (f"{disturbed} beside the engine: their figures are worse than those of a quiet machine.",)


def requests(load: LoadReport) -> str:
    """What each request of a load test was."""
    shared = f", the first {load.shared_prefix_tokens} of them shared by all" if load.shared_prefix_tokens else ""
    cache = "on" if load.prefix_caching else "off"
    warm_up = counted(load.warmup_requests, "warm-up request")
    return (
        f"{load.input_tokens} prompt tokens{shared} and {load.output_tokens} output tokens a request, greedy, "
        f"prompt cache {cache}, sent by {load.generator}; {warm_up} before the first "
        "level. Where a level was long enough its ramps were left out: docs/load.md has the rule."
    )
