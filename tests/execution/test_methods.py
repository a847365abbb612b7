"""The table of methods is whole, and what cannot be made is refused before any tool starts."""

from pathlib import Path
from typing import Any

import psutil
import pytest
from execution.folders import write_model

from benchmarks.method_row import MUST, Row, Said, Served
from benchmarks.methods import chosen_of, due, everything
from executors import files, toolchain
from executors.compress.compress import compress
from executors.compress.gguf import recipe
from executors.compress.methods import Form, method, methods, require_engine
from executors.serve.registry import ENGINES
from executors.toolchain import Toolchain
from executors.worker import SCRIPTS, Workbench
from handlers.workbench.engines import form_for
from planners.performance.formats import formats
from schemas.artifact import Artifact, FileDigest, Text
from schemas.error import AgentError, ErrorCode
from schemas.measurement import GateDecision, GateVerdict, QualityMeasurement

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


def test_the_table_has_every_method_once() -> None:
    """What `make test-toolchains` runs: names that QUANTIZE_MODEL takes, and every method for folders is among them."""
    names = everything()
    assert len(set(names)) == len(names)
    assert {chosen_of(name).toolchain for name in names} <= set(toolchain.known())
    assert {name for name, one in methods().items() if one.output is Form.FOLDER} - set(names) == {"safetensors"}
    assert set(MUST) <= set(names)


def test_runs_of_few_minutes_make_every_row_in_turns() -> None:
    """Clear cases first; the others begin where the turn counts to, and over as many turns each comes to the front."""
    names = everything()
    orders = [due(names, turn) for turn in range(len(names))]
    assert all(sorted(order) == sorted(names) and set(order[: len(MUST)]) == set(MUST) for order in orders)
    assert {order[len(MUST)] for order in orders} == set(names) - set(MUST)
    assert due([], 5) == []


def test_only_engines_that_are_run_here_are_said_to_serve() -> None:
    """And none is named twice."""
    for one in methods().values():
        assert set(one.served) <= set(ENGINES), one.name
        assert len(set(one.engines)) == len(one.engines), one.name


FILE = FileDigest(name="out", sha256="0" * 64, bytes=10**8)
QUALITY = QualityMeasurement(
    perplexity=20.0,
    baseline_perplexity=19.0,
    loss=0.05,
    loss_low=0.02,
    loss_high=0.08,
    confidence=0.95,
    kl=0.01,
    kl_low=0.0,
    kl_high=0.02,
    top1=0.9,
    tokens=1024,
    text="text",
)
DAMAGED = GateDecision(
    verdict=GateVerdict.FAILED,
    sentence="It fails.",
    quality=QUALITY.model_copy(update={"perplexity": 150.0}),
    limit=0.02,
)
SENSE = Said(words="the late 18th century", nats=0.9)
ROW = Row(
    name="ct2-int8",
    key="",
    date="2026-11-26",
    settings="few",
    artifact=Artifact(
        method="ct2-int8", weight_format="INT8", source_format="F16", tools=(), source=FILE, output=FILE, seconds=1
    ),
    decision=GateDecision(verdict=GateVerdict.FAILED, sentence="It fails.", quality=QUALITY, limit=0.02),
    judged_s=1.0,
    own=SENSE,
    served=(Served(engine="ctranslate2", claimed=True, said=SENSE),),
)


def served(**found: Any) -> Served:
    """What vLLM did with an artifact."""
    return Served(engine="vllm", **found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"name": "Q8_0"}, ["It fails."]),
        ({"own": Said(words="which see", nats=0.5)}, ["'which see'"]),
        ({"own": Said(words='which see am " " "', nats=7.5)}, ["7.50 nats a token, for at most 3.00"]),
        ({"decision": DAMAGED, "own": Said(words='which see am " " "', nats=4.5)}, []),
        ({"decision": DAMAGED, "own": Said(words='which see am " " "', nats=7.5)}, ["for at most 5.01"]),
        ({"own": Said(words="", nats=None)}, ["''"]),
        ({"served": (Served(engine="vllm", claimed=True, refusal="no kernel"),)}, ["wrong of vllm: no kernel"]),
        ({"served": (Served(engine="vllm", claimed=False, said=SENSE),)}, ["wrong of vllm: it serves it"]),
        ({"served": (Served(engine="vllm", claimed=False, refusal="no kernel"),)}, []),
        ({"served": (Served(engine="vllm", claimed=True, said=SENSE, loss=0.05, judged=0.06),)}, []),
        (
            {"served": (Served(engine="vllm", claimed=True, said=SENSE, loss=0.05, judged=0.15),)},
            ["+5.0% as vllm serves"],
        ),
    ],
)
def test_what_speaks_against_a_row_is_said(change: dict[str, object], words: list[str]) -> None:
    """Another verdict than a clear case has, no sense in its words, an engine that does otherwise than the row says."""
    said = [*ROW.model_copy(update=change).wrong()]
    assert len(said) == len(words)
    assert all(word in line for word, line in zip(words, said, strict=True))


def test_a_student_has_to_come_nearer_to_its_teacher() -> None:
    """Its words may make no sense yet; a divergence that does not fall is wrong."""
    for after, complaints in ((5.0, 0), (9.0, 1)):
        told = {"curve": (8.0, after), "parameters": {"kl_before": 8.0, "kl_after": after}}
        row = ROW.model_copy(
            update={"artifact": ROW.artifact.model_copy(update=told), "own": Said(words="", nats=None)}
        )
        assert len([*row.wrong()]) == complaints


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


@pytest.mark.parametrize("name", ["mixed-w4w8", "gptqmodel-8bit", "bnb-nf4"])
def test_what_an_engine_refuses_here_is_not_made_for_it(name: str) -> None:
    """VLLM has no kernel for them on a CPU, whatever it loads on a GPU: the answer names what it serves here."""
    with pytest.raises(AgentError, match=rf"nothing here makes {name} for vllm; there are .*gptq-w4a16") as caught:
        form_for(ENGINES["vllm"], name)
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
