"""Text from outside made safe to show: in a log line, on a terminal, in Markdown."""

import re

LONGEST = 200
"""Characters of a name or a sentence from outside that anyone gets to see, unless a caller says otherwise."""

SEQUENCE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])")
"""Terminal control sequences (ECMA-48)."""
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]+")
"""Control characters, and marks that change the direction of text or hide in it."""
SPECIAL = re.compile(r"([\\`*\[\]<>|~]|(?<=\])\(|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|^[#+=-]|^\d+(?=[.)]))")
"""What Markdown acts on: anywhere, at the edge of a word, or at the start of a line; text here is one line."""
LINK = re.compile(r"(?i)\b(https?|javascript|data|ftp|mailto|www)([:.])")


def plain(text: str, longest: int = LONGEST) -> str:
    """`text` without control characters, cut to `longest` characters: safe in a log line or on a terminal."""
    clean = UNSEEN.sub(" ", SEQUENCE.sub("", text[: 4 * longest])).strip()
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def counted(number: int, noun: str) -> str:
    """`1 slot`, `8 slots`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def code(text: str, longest: int = LONGEST) -> str:
    """`text` as code on one line: backticks cannot be escaped there, so they become quotation marks."""
    return f"`{plain(text, longest).replace('`', chr(39))}`"


def escape(text: str, longest: int = LONGEST) -> str:
    """`text` as Markdown shows it letter by letter: no markup, no HTML, no link made of it."""
    return SPECIAL.sub(r"\\\1", LINK.sub("\\1\u2060\\2", plain(text, longest)).replace("&", "&amp;"))
