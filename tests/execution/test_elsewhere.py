"""Steps for a GPU that is not here: rendered and held against what the tool publishes, never run."""

import ast
import json
from pathlib import Path

import pytest
from closing.agent import SMALL, tell

from executors.compress.compress import USUAL
from executors.compress.elsewhere import SCRIPT, Published, check, gpu_methods, render
from handlers.workshop import Workshop
from planners.performance.formats import formats
from schemas.error import AgentError, ErrorCode
from schemas.findings import RenderedReport
from schemas.status import JobState

PUBLISHED = Published(
    package="tool",
    version="1",
    source="a test",
    configurations=("GOOD_CFG",),
    functions={
        "quantize": ("model", "config", "forward_loop"),
        "export_hf_checkpoint": ("model", "dtype", "export_dir"),
    },
)
ARGUMENTS = ("--model", "m", "--calibration", "c", "--output", "o", "--samples", "1", "--tokens", "2")


@pytest.mark.parametrize("name", sorted(gpu_methods()))
def test_every_gpu_method_is_rendered_and_checked(name: str) -> None:
    """Script, arguments and container are there; what was checked and what was not is said."""
    chosen = gpu_methods()[name]
    step = render(chosen, USUAL)
    assert chosen.weight_format in formats()
    assert ast.parse(step.script)
    assert step.command[:2] == ("docker", "run")
    assert step.command[step.command.index("--configuration") + 1] == chosen.configuration
    assert step.container in step.command
    assert step.command[step.command.index("--network") + 1] == "none"
    assert len(step.checks) == 3
    assert step.unchecked


@pytest.mark.parametrize(
    ("old", "new", "arguments", "words"),
    [
        ("", "", (*ARGUMENTS, "--configuration", "NO_CFG"), "no configuration NO_CFG"),
        ("", "", ARGUMENTS, "does not take its arguments"),
        ("", "", (*ARGUMENTS, "--configuration", "GOOD_CFG", "--remote", "x"), "does not take its arguments"),
        ("mtq.quantize(", "mtq.quantise(", (*ARGUMENTS, "--configuration", "GOOD_CFG"), "no function quantise"),
        ("export_dir=", "folder=", (*ARGUMENTS, "--configuration", "GOOD_CFG"), "takes model, dtype, export_dir"),
    ],
)
def test_a_step_that_does_not_fit_the_tool_is_refused(
    tmp_path: Path, old: str, new: str, arguments: tuple[str, ...], words: str
) -> None:
    """A wrong name, argument or configuration is found without the tool."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.read_text().replace(old, new) if old else SCRIPT.read_text())
    with pytest.raises(AgentError, match=words) as caught:
        check(script, arguments, PUBLISHED)
    assert caught.value.code is ErrorCode.TOOL_FAILED


async def test_a_gpu_method_is_handed_on_and_never_reported_as_done(tmp_path: Path) -> None:
    """QUANTIZE_MODEL for a model of the catalog: files and a hand-off, and the job ends as not met."""
    shop = Workshop(cache=tmp_path / "cache", memory=tmp_path / "memory", model_roots=(), effort=SMALL)
    told = await tell({"cmd": "QUANTIZE_MODEL", "model": "llama-3-70b", "method": "modelopt-fp8"}, tmp_path, shop)
    assert told.final.state is JobState.NOT_MET
    assert told.final.detail.startswith("Planned only, not done")
    report = RenderedReport.model_validate_json((told.directory / "report.json").read_bytes())
    (outcome,) = report.handoffs
    assert outcome.handoff.to_agent == "devops-engineer"
    assert outcome.handoff.context.rendering == report.rendering
    assert (told.directory / "modelopt_ptq.py").read_text() == report.rendering.script
    assert (told.directory / "report.md").read_text().startswith("# llama-3-70b, modelopt-fp8: planned only")
    assert json.loads((told.directory / "report.json").read_text())["state"] == "not_met"
    with pytest.raises(AgentError, match=r"vllm does not load what modelopt-w4a8-awq makes; these do: tensorrt-llm"):
        await tell(
            {
                "cmd": "QUANTIZE_MODEL",
                "model": "llama-3-70b",
                "method": "modelopt-w4a8-awq",
                "constraints": {"engines": ["vllm"]},
            },
            tmp_path / "other",
            shop,
        )
