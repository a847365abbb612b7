"""Texts to calibrate and to evaluate with: disjoint halves of a Wikipedia sample, or files of the user's own.

The sample is what gensim ships as test data (toolchain `texts`). Its markup is reduced to prose; articles go in turn to
one half and the other, so that both have the same mix and no sentence is in both.
"""

import bz2
import html
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from executors.files import digest, partial
from executors.toolchain import find as find_toolchain
from schemas.artifact import Text
from schemas.error import AgentError, ErrorCode

FOLDER = "texts"
EDITION = 1
"""Raised when the cleaning changes, so that texts made earlier are not mistaken for today's."""
LICENCE = "CC BY-SA 3.0, from English Wikipedia"
SHORTEST = 2000
"""Characters of prose below which a page is a redirect, a stub or a list."""

INNERMOST_TEMPLATE = re.compile(r"\{\{[^{}]*\}\}")
INNERMOST_TABLE = re.compile(r"\{\|(?:(?!\{\||\|\}).)*\|\}", re.DOTALL)
DROPPED = (
    re.compile(r"<!--.*?-->", re.DOTALL),
    re.compile(
        r"<(ref|math|gallery|timeline|source|code|table|div)\b[^>]*?(?:/>|>.*?</\1\s*>)", re.DOTALL | re.IGNORECASE
    ),
    re.compile(r"<[^<>]{0,200}>"),
    re.compile(r"\[https?://\S+\]"),
    re.compile(r"^[ \t]*(?:[*#:;|!{}].*|={2,}.*={2,}[ \t]*)$", re.MULTILINE),
    re.compile(r"__[A-Z]+__"),
    re.compile(r"'{2,}"),
)
MEDIA = re.compile(r"\[\[\s*(?:File|Image|Category|[a-z-]{2,12})\s*:(?:[^\[\]]|\[\[[^\[\]]*\]\])*\]\]", re.IGNORECASE)
LINK = re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]")
OUTSIDE_LINK = re.compile(r"\[https?://\S+\s+([^\]]*)\]")
EMPTY_BRACKETS = re.compile(r"\s*\(\s*[;,]?\s*\)")
SPACES = re.compile(r"[ \t\u00a0]+")
BLANK_LINES = re.compile(r"\s*\n\s*\n\s*")


@dataclass(frozen=True)
class Texts:
    """What importance is measured on and what losses are measured on; no text is in both."""

    calibration: Text
    evaluation: Text


def find(cache: Path, *, calibration: Path | None = None, evaluation: Path | None = None) -> Texts:
    """The user's own files where they are named, else halves of the Wikipedia sample, made on first use.

    Raises:
        AgentError: `toolchain_missing` where the sample is needed and not installed; `not_available` for a file that
            cannot be read as UTF-8; `unsupported` where both are the same text.
    """
    found = Texts(
        calibration=_own(calibration) if calibration else _half(cache, "calibration"),
        evaluation=_own(evaluation) if evaluation else _half(cache, "evaluation"),
    )
    if found.calibration.sha256 == found.evaluation.sha256:
        raise AgentError(
            ErrorCode.UNSUPPORTED, "calibration and evaluation text are the same; name two different files"
        )
    return found


def clean(markup: str) -> str:
    """Prose of a page in wiki markup: templates, tables, notes, lists, headings and links' targets taken out."""
    text = html.unescape(markup)
    for pattern in DROPPED[:2]:
        text = pattern.sub(" ", text)
    for pattern in (INNERMOST_TEMPLATE, INNERMOST_TABLE):
        text = _until_still(pattern, text)
    text = _until_still(MEDIA, text)
    text = LINK.sub(r"\1", OUTSIDE_LINK.sub(r"\1", text))
    for pattern in DROPPED[2:]:
        text = pattern.sub("", text)
    text = EMPTY_BRACKETS.sub("", text)
    return BLANK_LINES.sub("\n\n", SPACES.sub(" ", text)).strip()


def _until_still(pattern: re.Pattern[str], text: str) -> str:
    """Take out what nests, from the inside."""
    count = 1
    while count:
        text, count = pattern.subn("", text)
    return text


def _own(path: Path) -> Text:
    try:
        path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AgentError(ErrorCode.NOT_AVAILABLE, f"{path} cannot be read as UTF-8 text: {error}") from error
    return Text(name=path.name, path=path.resolve(), sha256=digest(path))


def _half(cache: Path, name: str) -> Text:
    folder = cache / FOLDER
    paths = {half: folder / f"enwiki-{half}-{EDITION}.txt" for half in ("calibration", "evaluation")}
    if not all(path.is_file() for path in paths.values()):
        (archive,) = find_toolchain("texts", cache).files
        articles = list(_articles(archive))
        for start, path in enumerate(paths.values()):
            # a name of this process's own: two may make the same text at once
            with partial(path.with_stem(f"{path.stem}-{os.getpid()}")) as draft:
                draft.write_text("\n\n".join(articles[start::2]) + "\n", encoding="utf-8")
                draft.replace(path)
    return Text(name=f"enwiki sample, {name} half", path=paths[name], sha256=digest(paths[name]), licence=LICENCE)


def _articles(archive: Path) -> Iterator[str]:
    """Cleaned articles long enough to be prose, in the archive's order."""
    with bz2.open(archive) as file:
        for _, element in ET.iterparse(file):  # noqa: S314 - a file of a pinned package, not from outside
            if element.tag.endswith("}text"):
                prose = clean(element.text or "")
                if len(prose) >= SHORTEST and not prose.upper().startswith("#REDIRECT"):
                    yield prose
            elif element.tag.endswith("}page"):
                element.clear()
