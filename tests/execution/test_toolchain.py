"""Toolchains are made whole or not at all, found when they are whole, and made again when they are not."""

import asyncio
import sys
from pathlib import Path

import pytest

from executors import toolchain
from executors.toolchain import STAMP
from schemas.error import AgentError, ErrorCode
from schemas.toolchain import ToolchainSpec, ToolchainState

BARE = ToolchainSpec(name="bare", summary="an environment with nothing in it", imports=("json",), disk_mb=50)
INSTALL = """
import asyncio, sys
from pathlib import Path
from executors import toolchain
from schemas.toolchain import ToolchainSpec
spec = ToolchainSpec.model_validate_json(sys.argv[1])
made = asyncio.run(toolchain.install(spec, Path(sys.argv[2]), lambda _: None))
print(made.stamp.digest)
"""


def left_over(cache: Path) -> list[str]:
    """What an installation left besides the environment, its log and its lock."""
    return sorted(path.name for path in (cache / toolchain.FOLDER).iterdir() if path.suffix not in {".log", ".lock"})


async def test_two_processes_make_one_environment(tmp_path: Path) -> None:
    """Both installations succeed, and nothing partial is left; a broken or stale environment is made again."""
    command = [sys.executable, "-c", INSTALL, BARE.model_dump_json(), str(tmp_path)]
    running = [await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(2)]
    outputs = [await process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert outputs[0] == outputs[1]
    assert left_over(tmp_path) == ["bare"]

    assert toolchain.state(BARE, tmp_path) is ToolchainState.READY
    changed = BARE.model_copy(update={"imports": ("json", "csv")})
    assert toolchain.state(changed, tmp_path) is ToolchainState.STALE
    (tmp_path / toolchain.FOLDER / "bare" / STAMP).write_text("{")
    assert toolchain.state(BARE, tmp_path) is ToolchainState.BROKEN
    killed = tmp_path / toolchain.FOLDER / ".bare.1.partial"
    (killed / "lib").mkdir(parents=True)
    said: list[str] = []
    made = await toolchain.install(changed, tmp_path, said.append)
    assert toolchain.state(changed, tmp_path) is ToolchainState.READY
    assert made.python.exists()
    assert said[-1] == "bare: ready"
    assert toolchain.status(changed, tmp_path).bytes > 0
    assert left_over(tmp_path) == ["bare"]


@pytest.mark.parametrize(
    ("change", "code", "word"),
    [
        ({"disk_mb": 10**9}, ErrorCode.DISK_FULL, "needs 1000000000 MB"),
        ({"alone": ("xllamacpp==0.0.0",)}, ErrorCode.TOOL_FAILED, "pip install xllamacpp==0.0.0 failed"),
    ],
)
async def test_what_cannot_be_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], code: ErrorCode, word: str
) -> None:
    """Each failure is one typed sentence, and there is no environment under the final name."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(AgentError, match=word) as caught:
        await toolchain.install(BARE.model_copy(update=change), tmp_path, lambda _: None)
    assert caught.value.code is code
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("lack", [{"imports": ("no_such_module",)}, {"files": ("no_such_module",)}])
async def test_what_is_lacking_is_named(tmp_path: Path, lack: dict[str, object]) -> None:
    """An environment whose package does not import, or whose file is not there, is not whole."""
    made = toolchain.Toolchain(BARE.model_copy(update=lack), Path(sys.prefix))
    with pytest.raises(AgentError, match="no_such_module") as caught:
        await toolchain.verify(made, tmp_path / "log")
    assert caught.value.code is ErrorCode.TOOL_FAILED


async def test_what_is_not_there_is_said_with_the_command_that_helps(tmp_path: Path) -> None:
    """A missing toolchain and an unknown one are told apart; removing what is not there is no error."""
    with pytest.raises(AgentError, match="inferwright toolchain install llamacpp"):
        toolchain.find("llamacpp", tmp_path)
    with pytest.raises(AgentError, match="there is no toolchain 'nonesuch'"):
        toolchain.find("nonesuch", tmp_path)
    assert not toolchain.installed("texts", tmp_path)
    await toolchain.remove("texts", tmp_path)


async def test_a_removed_toolchain_is_gone(tmp_path: Path) -> None:
    """Removing deletes the environment whatever is in it."""
    folder = tmp_path / toolchain.FOLDER / "texts"
    (folder / "lib").mkdir(parents=True)
    await toolchain.remove("texts", tmp_path)
    assert left_over(tmp_path) == []


async def test_what_does_not_import_any_more_counts_as_broken(tmp_path: Path) -> None:
    """An environment whose stamp is whole and whose package is gone is found out, and made again."""
    made = await toolchain.install(BARE, tmp_path, lambda _: None)
    lacking = toolchain.Toolchain(BARE.model_copy(update={"imports": ("no_such_module",)}), made.path)
    with pytest.raises(AgentError, match="no_such_module"):
        await toolchain.examine(lacking, tmp_path / "log")
    assert toolchain.state(BARE, tmp_path) is ToolchainState.BROKEN
    await toolchain.install(BARE, tmp_path, lambda _: None)
    assert toolchain.state(BARE, tmp_path) is ToolchainState.READY
