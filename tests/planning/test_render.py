"""The one place that turns a plan into Markdown lets no name from outside break the page."""

import json
import shlex
from collections.abc import Callable

import pytest

from planners.render import plan_markdown, safe
from schemas.plan import Plan

Answer = Callable[..., Plan]


@pytest.mark.parametrize(
    "hostile", ["a|b", "`rm`", "<script>", "\x1b[31mred", "line\nbreak", "\u202eevil", "[x](http://y)"]
)
def test_hostile_names_stay_text(hostile: str) -> None:
    """No table breaks, no code, no terminal colours, no hidden direction marks."""
    shown = safe(hostile)
    assert "\n" not in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert not any(sign in shown.replace(f"\\{sign}", "") for sign in "|`<[")


def test_long_names_are_cut() -> None:
    """A page stays a page."""
    assert len(safe("x" * 10_000)) <= 400


def test_a_plans_model_name_is_escaped_where_it_is_shown(answer: Answer) -> None:
    """A model's name comes from a file's header, so anyone may have written it."""
    plan = answer(model="SmolLM2-135M", constraints={"hardware": "host"}).model_copy(update={"model": "a|b\x1b[2J`c`"})
    head = plan_markdown(plan).splitlines()[0]
    assert head == r"# Plan for a\|b\`c\` on 1xhost"


def test_the_verdict_comes_first_and_every_section_has_its_place(answer: Answer) -> None:
    """A reader who stops after two lines knows what to do."""
    page = plan_markdown(answer(model="SmolLM2-135M", constraints={"hardware": "host"}))
    assert page.splitlines()[2].startswith("**Serve SmolLM2-135M with llama.cpp")
    titles = [line for line in page.splitlines() if line.startswith("## ")]
    assert titles[0] == "## What to do, in order of trial"
    assert titles[-1] == "## Undo"


def test_a_command_line_can_be_pasted_into_a_shell(answer: Answer) -> None:
    """Settings in JSON are quoted, so that a shell hands them on as they are; one thing is not counted as several."""
    plan = answer(
        model="llama-3.1-8b",
        targets={"throughput": 1},
        constraints={"hardware": "1xH100", "engines": ["vllm"]},
        workload={"input_tokens": 200, "output_tokens": 50},
    )
    page = plan_markdown(plan)
    line = next(line for line in page.splitlines() if line.startswith("`docker run")).strip("`")
    words = shlex.split(line)
    assert plan.launch is not None
    assert words[-len(plan.launch.arguments) :] == list(plan.launch.arguments)
    assert json.loads(words[words.index("--compilation-config") + 1])["mode"] == 3
    assert "; 1 request/s (Poisson)" in page
