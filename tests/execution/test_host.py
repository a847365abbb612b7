"""The host probe says what the machine is and measures what it does."""

from pathlib import Path

from executors.host import probe


async def test_the_probe_measures_this_host(tmp_path: Path) -> None:
    """Bandwidth and matrix rate are positive for one thread and for all cores."""
    host = await probe(tmp_path / "log")
    assert set(host.bandwidth_gbs) == set(host.gflops) == {1, host.cores}
    assert min(*host.bandwidth_gbs.values(), *host.gflops.values()) > 0.1
    assert 0 < host.memory_free_bytes <= host.memory_bytes
