"""The host probe says what the machine is and measures what it does."""

import os
from pathlib import Path

import pytest

from executors.host import probe


async def test_the_probe_measures_this_host(tmp_path: Path) -> None:
    """Bandwidth and matrix rate are positive for one thread and for all cores."""
    host = await probe(tmp_path / "log")
    assert set(host.bandwidth_gbs) == set(host.gflops) == {1, host.cores}
    assert min(*host.bandwidth_gbs.values(), *host.gflops.values()) > 0.1
    assert 0 < host.memory_free_bytes <= host.memory_bytes


async def test_gpus_are_named_as_their_driver_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `nvidia-smi`: a double that prints what it printed on an H200, since no GPU is here; none where it fails."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert (await probe(tmp_path / "log")).gpus == ("NVIDIA H200",)
    tool.write_text("#!/bin/sh\necho 'No devices were found'\nexit 6\n")
    assert (await probe(tmp_path / "log")).gpus == ()
