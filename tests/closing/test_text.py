"""Whatever came from a message is shown as text and does nothing."""

import pytest
from closing.records import load
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from handlers.markdown.sections import loads, profiled
from schemas.resources import Hotspot, Profile
from schemas.text import escape, plain

HOSTILE = [
    "](javascript:alert(1))",
    "<img src=x onerror=alert(1)>",
    "https://evil.example/x",
    "\x1b[31mred\x1b[0m",
    "a\nb\r\n# heading",
    "| cell | cell |",
    "`code` **bold** _it_",
    "x" * 1_000_000,
    "\u202egnp.exe",
    "# heading",
    "- item",
    "1. item",
    "---",
    "===",
    "> quote",
    "&lt;b&gt;",
    "~~~",
    "~~struck~~",
    "![image](x)",
    "<!-- comment -->",
    "[a]: b",
]


@pytest.mark.parametrize("prefix", ["", "name "])
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_text(text: str, prefix: str) -> None:
    """Rendered as Markdown, nothing but text comes out: no link, no tag, no heading, no control character."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(f"{prefix}{escape(text)}")
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert {child.type for child in tokens[1].children or []} <= {"text", "text_special"}
    assert len(escape(text)) < 500


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_in_their_cells(text: str) -> None:
    """As a strategy's name in a table of load, or a function's in a profile: the same cells, and nothing but text."""
    spot = Hotspot(tool="perf", where=text, share=0.5)
    found = Profile(seconds=6, load=text, hotspots=(spot,), notes=(text,))
    page = loads([load(2, 500, strategy=text)]) + "\n" + profiled(found)
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(page)
    assert [token.type for token in tokens].count("td_open") == 2 * 12 + 3
    assert not {token.type for token in tokens} & {"html_block", "heading_open", "fence", "hr", "blockquote_open"}
    inline = {child.type for token in tokens for child in token.children or []}
    assert inline <= {"text", "text_special", "code_inline"}


@given(st.text(max_size=400))
def test_no_control_character_is_left(text: str) -> None:
    """Logs and terminals see printable text only, of bounded length."""
    shown = plain(text, 100)
    assert len(shown) <= 100
    assert not any(ord(letter) < 32 or letter == "\x7f" for letter in shown)
