"""GGUF made by the real quantizer from the real model; whatever goes wrong leaves nothing under a final name."""

import asyncio
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from executors.compress.gguf import MIXED, check, compute_importance, manifest, quantize
from executors.files import describe, digest
from executors.texts import Texts
from executors.worker import Progress, Workbench
from schemas.error import AgentError, ErrorCode

pytestmark = pytest.mark.real
ENGINE_NOISE = "log"


def written(folder: Path) -> set[str]:
    """What is in a folder besides the log."""
    return {path.name for path in folder.iterdir()} - {ENGINE_NOISE}


def half_of(path: Path, target: Path) -> Path:
    """The first half of a file, as `target`."""
    whole = path.read_bytes()
    target.write_bytes(whole[: len(whole) // 2])
    return target


def spoil(path: Path, target: Path) -> Path:
    """A copy of a model with NaN (in float16 as in float32) at the end of its last tensor."""
    whole = path.read_bytes()
    target.write_bytes(whole[:-4096] + b"\xff\x7f" * 2048)
    return target


def workers() -> list[psutil.Process]:
    """The processes of ours that run the quantizer's worker itself, not its guard."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.cmdline()[-1:] and child.cmdline()[-1].endswith("llamacpp_quantize.py") and not child.children()
    ]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Within, no file of ours or of our children grows beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_an_importance_matrix_changes_the_weights(
    base: Path, halves: Texts, bench: Workbench, tmp_path: Path
) -> None:
    """Two files of one format differ by it, both load and write words, and the manifests say how they were made."""
    matrix = tmp_path / "importance.npz"
    made = await compute_importance(base, matrix, text=halves.calibration, tokens=512, bench=bench)
    assert made.calibration_tokens == 512
    plain = await quantize(base, "Q4_0", tmp_path / "plain.gguf", importance=None, bench=bench)
    weighted = await quantize(base, "Q4_0", tmp_path / "weighted.gguf", importance=matrix, bench=bench)
    assert max(plain.output.bytes, weighted.output.bytes) < describe(base).bytes / 2
    assert plain.output.sha256 != weighted.output.sha256 == digest(tmp_path / "weighted.gguf")
    assert plain.source_format == "F16"
    assert plain.source.sha256 == digest(base)
    assert weighted.importance is not None
    assert weighted.importance.sha256 == digest(matrix)
    assert weighted.calibration == halves.calibration
    assert all(len(artifact.sample.split()) >= 5 for artifact in (plain, weighted))
    assert manifest(tmp_path / "weighted.gguf") == weighted
    assert any(tool.startswith("cyllama==") for tool in weighted.tools)
    names = {"importance.npz", "plain.gguf", "weighted.gguf"}
    assert written(tmp_path) == names | {f"{name}.json" for name in names}


async def test_a_truncated_model_is_unreadable(shipped: Path, bench: Workbench, tmp_path: Path) -> None:
    """A file whose header is whole and whose weights are cut is refused, for making and for loading."""
    cut = half_of(shipped, tmp_path / "cut.gguf")
    for attempt in (quantize(cut, "F16", tmp_path / "out.gguf", importance=None, bench=bench), check(cut, bench)):
        with pytest.raises(AgentError) as caught:
            await attempt
        assert caught.value.code is ErrorCode.UNREADABLE_MODEL
    assert written(tmp_path) == {"cut.gguf"}


async def test_weights_that_are_not_numbers_are_refused(shipped: Path, bench: Workbench, tmp_path: Path) -> None:
    """NaN in a tensor is found when the model is checked."""
    spoilt = spoil(shipped, tmp_path / "spoilt.gguf")
    with pytest.raises(AgentError, match="invalid") as caught:
        await check(spoilt, bench)
    assert caught.value.code is ErrorCode.UNREADABLE_MODEL


async def test_an_unknown_format_is_unsupported(shipped: Path, bench: Workbench, tmp_path: Path) -> None:
    """The answer lists the formats that there are."""
    with pytest.raises(AgentError, match="Q8_0") as caught:
        await quantize(shipped, "Q9_X", tmp_path / "out.gguf", importance=None, bench=bench)
    assert caught.value.code is ErrorCode.UNSUPPORTED


async def test_a_folder_that_cannot_be_written_is_named(shipped: Path, bench: Workbench, tmp_path: Path) -> None:
    """Where the target's folder cannot be made, the sentence says which."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(AgentError, match=r"out\.gguf cannot be written"):
        await quantize(shipped, "F16", tmp_path / "file" / "out.gguf", importance=None, bench=bench)


async def test_too_little_memory_is_found_before_it_starts(
    shipped: Path, bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence has the memory needed and the memory there is (the machine's answer is a double)."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("", (), {"available": 10**6}))
    with pytest.raises(AgentError, match=r"F16 of .* needs \d+ MB of memory and 1 MB are free") as caught:
        await quantize(shipped, "F16", tmp_path / "out.gguf", importance=None, bench=bench)
    assert caught.value.code is ErrorCode.OUT_OF_MEMORY
    assert written(tmp_path) == set()


async def test_single_tensors_keep_a_type_of_their_own(base: Path, bench: Workbench, tmp_path: Path) -> None:
    """With the mix two kinds of tensors stay at 8 bits: a larger file, other weights, and the manifest says which."""
    plain = await quantize(base, "Q4_0", tmp_path / "plain.gguf", importance=None, bench=bench)
    mixed = await quantize(base, "Q4_0", tmp_path / "mixed.gguf", importance=None, bench=bench, overrides=MIXED)
    assert plain.output.bytes * 1.1 < mixed.output.bytes < describe(base).bytes / 2
    assert mixed.parameters == {f"tensor_type.{pattern}": kind for pattern, kind in MIXED.items()}
    assert len(mixed.sample.split()) >= 5


async def test_a_full_disk_leaves_nothing(shipped: Path, bench: Workbench, tmp_path: Path) -> None:
    """When the file cannot grow, the error is disk_full and the partial file is gone."""
    with file_size_limit(20_000_000), pytest.raises(AgentError) as caught:
        await quantize(shipped, "F16", tmp_path / "out.gguf", importance=None, bench=bench)
    assert caught.value.code is ErrorCode.DISK_FULL
    assert written(tmp_path) == set()


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("how", ["cancelled", "killed"])
async def test_an_interrupted_quantizer_leaves_nothing(base: Path, llamacpp: object, tmp_path: Path, how: str) -> None:
    """Cancelled or killed in the middle: no file, no process, and a kill is told with the log's last lines."""
    begun = asyncio.Event()

    def hear(progress: Progress) -> None:
        if progress.done > 5:
            begun.set()

    bench = Workbench(llamacpp, 1, tmp_path / "log", hear)
    task = asyncio.create_task(quantize(base, "IQ4_NL", tmp_path / "out.gguf", importance=None, bench=bench))
    await asyncio.wait_for(begun.wait(), 60)
    if how == "cancelled":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
    else:
        for process in workers():
            os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(AgentError, match=r"was killed(.|\n)*converting to") as caught:
            await task
        assert caught.value.code is ErrorCode.TOOL_FAILED
    assert written(tmp_path) == set()
