"""The table of methods is whole, and what cannot be made is refused before any tool starts."""

from pathlib import Path

import psutil
import pytest
from execution.folders import write_model

from executors import files, toolchain
from executors.compress.compress import compress
from executors.compress.gguf import recipe
from executors.compress.methods import method, methods, require_engine
from executors.toolchain import Toolchain
from executors.worker import SCRIPTS, Workbench
from planners.performance.formats import formats
from schemas.artifact import Text
from schemas.error import AgentError, ErrorCode

TEXT = Text(name="text", path=Path("text"), sha256="0" * 64)


def bench(name: str, folder: Path) -> Workbench:
    """A toolchain that is not installed: nothing here may get so far as to start it."""
    return Workbench(Toolchain(toolchain.specification(name), folder / "nowhere"), 1, folder / "log")


def left(folder: Path) -> set[str]:
    """What is in a folder besides the model and the log."""
    return {path.name for path in folder.iterdir()} - {"model", "log"}


def test_every_row_is_usable() -> None:
    """Toolchain, worker script and weight format of each method exist."""
    for one in methods().values():
        assert one.toolchain in toolchain.known(), one.name
        assert (SCRIPTS / f"{one.script}.py").is_file(), one.name
        assert one.weight_format in formats(), one.name


def test_an_unknown_method_is_refused() -> None:
    """The answer lists what there is, GGUF formats included."""
    with pytest.raises(AgentError, match=r"no method 'gptq-w1'.*smoothquant-w8a8.*Q4_K_M") as caught:
        method("gptq-w1")
    assert caught.value.code is ErrorCode.UNSUPPORTED


def test_groups_and_mixes_are_asked_for_in_the_name() -> None:
    """A size for methods in groups, a mix for GGUF; what does not fit is refused with what there is."""
    assert method("gptqmodel-4bit-g32").parameters == {"bits": 4, "group_size": 32}
    assert recipe("q4_0+mix").stem == "Q4_0-mix"
    assert recipe("Q4_0+imatrix+mix").stem == recipe("Q4_0+mix+imatrix").stem == "Q4_0-mix-imatrix"
    for name in ("gptqmodel-4bit-g48", "ct2-int8-g32", "-g32"):
        with pytest.raises(AgentError, match="-g32, -g64, -g128"):
            method(name)
    for name in ("Q4_0+mix+mix", "F16+mix", "Q4_0+best", "Q9+mix"):
        with pytest.raises(AgentError, match=r"also with \+imatrix and \+mix"):
            recipe(name)


def test_a_method_that_the_engine_cannot_load_is_refused() -> None:
    """The answer names the engines that can."""
    require_engine(method("gptq-w4a16"), ("vllm",))
    require_engine(method("ct2-int8"), ())
    with pytest.raises(AgentError, match=r"vllm does not load what ct2-int8 makes; these do: ctranslate2") as caught:
        require_engine(method("ct2-int8"), ("vllm",))
    assert caught.value.code is ErrorCode.UNSUPPORTED


@pytest.mark.parametrize(
    ("name", "tool", "source", "problem"),
    [
        ("nonesuch", "transformers", "model", (ErrorCode.UNSUPPORTED, "no method")),
        ("ct2-int8", "llmcompressor", "model", (ErrorCode.TOOLCHAIN_MISSING, "needs the toolchain transformers")),
        ("ct2-int8", "transformers", "model/config.json", (ErrorCode.UNSUPPORTED, "reads a folder")),
        ("ct2-int8", "transformers", "nowhere", (ErrorCode.UNREADABLE_MODEL, "is not a folder")),
        ("gptq-w4a16", "llmcompressor", "model", (ErrorCode.UNSUPPORTED, "nor does any narrower")),
        ("gptqmodel-8bit-g128", "gptqmodel", "model", (ErrorCode.UNSUPPORTED, "in groups of 128")),
        ("safetensors", "transformers", "model/config.json", (ErrorCode.UNREADABLE_MODEL, "not a GGUF")),
    ],
)
async def test_what_cannot_be_made_is_refused_before_it_starts(
    tmp_path: Path, name: str, tool: str, source: str, problem: tuple[ErrorCode, str]
) -> None:
    """Each is one typed sentence, and nothing is left behind."""
    write_model(tmp_path / "model")
    code, words = problem
    with pytest.raises(AgentError, match=words) as caught:
        await compress(name, tmp_path / source, tmp_path / "out", calibration=TEXT, bench=bench(tool, tmp_path))
    assert caught.value.code is code
    assert left(tmp_path) == set()


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("memory", ErrorCode.OUT_OF_MEMORY, r"needs 1,000 MB of memory and 1 MB are free"),
        ("disk", ErrorCode.DISK_FULL, r"needs 0 MB and .* has 0 MB free"),
    ],
)
async def test_too_little_room_is_found_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, code: ErrorCode, words: str
) -> None:
    """The sentence has the number needed and the number there is (the machine's answer is a double)."""
    if what == "memory":
        monkeypatch.setattr(psutil, "virtual_memory", lambda: type("", (), {"available": 10**6}))
    else:
        monkeypatch.setattr(files.shutil, "disk_usage", lambda _: type("", (), {"free": 0}))
    model, target = write_model(tmp_path / "model"), tmp_path / "out"
    with pytest.raises(AgentError, match=words) as caught:
        await compress("ct2-int8", model, target, calibration=TEXT, bench=bench("transformers", tmp_path))
    assert caught.value.code is code
    assert left(tmp_path) == set()
