"""Markup becomes prose, halves share nothing, and a user's own files are taken as they are or refused."""

from pathlib import Path

import pytest

from executors import texts
from schemas.error import AgentError, ErrorCode

PAGE = """{{Infobox|name={{nested|x}}}}
'''Anarchism''' is a [[political philosophy|philosophy]]<ref name="a">note</ref> of [[society]] ({{lang|el|x}}).
== Heading ==
[[File:A.jpg|thumb|A [[link]] in a caption]]
{| class="wikitable"
| cell
{| nested
|}
|}
* an item of a list
It says &quot;no&quot; to [http://example.org rulers].<!-- hidden -->
[[Category:Politics]]"""


def test_markup_becomes_prose() -> None:
    """Templates, notes, tables, media, lists and headings go; words stay."""
    assert texts.clean(PAGE) == 'Anarchism is a philosophy of society.\n\nIt says "no" to rulers.'


def test_own_files_are_used_as_they_are(tmp_path: Path) -> None:
    """Two files of the user's own need no toolchain."""
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for path in paths:
        path.write_text(f"text of {path.name}")
    found = texts.find(tmp_path, calibration=paths[0], evaluation=paths[1])
    assert found.calibration.path == paths[0]
    assert found.evaluation.label.startswith("b.txt (sha256 ")
    with pytest.raises(AgentError, match="are the same"):
        texts.find(tmp_path, calibration=paths[0], evaluation=paths[0])


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """Missing or not UTF-8: one sentence that names the file."""
    path = tmp_path / "bad.txt"
    if content:
        path.write_bytes(content)
    with pytest.raises(AgentError, match=r"bad\.txt") as caught:
        texts.find(tmp_path, calibration=path, evaluation=path)
    assert caught.value.code is ErrorCode.NOT_AVAILABLE


@pytest.mark.real
def test_halves_share_no_paragraph(halves: texts.Texts) -> None:
    """What importance was measured on is not what losses are measured on."""
    calibration, evaluation = (
        {line for line in text.path.read_text().split("\n\n") if len(line) > 200}
        for text in (halves.calibration, halves.evaluation)
    )
    assert len(calibration) > 1000
    assert not calibration & evaluation
