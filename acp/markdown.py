"""JSON values in, Markdown for people out; text from outside is escaped, so that it stays text."""

import re

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

LONGEST = 2000
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")
_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+!|~-])")
_LINKS = re.compile(r"(?i)\b(https?|javascript|data|ftp|mailto|www)([:.])")


def escape(text: str) -> str:
    """`text` with nothing left that a terminal or a Markdown reader would act on."""
    plain = _CONTROL.sub(" ", text)
    cut = plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"
    return _SPECIAL.sub(r"\\\1", _LINKS.sub("\\1\u2060\\2", cut).replace("&", "&amp;"))


def document(value: dict[str, Json]) -> str:
    """`value` as a document: a heading per key that holds more than one value."""
    return "\n".join(_lines(value, 1)).strip() + "\n"


def _lines(value: dict[str, Json], level: int) -> list[str]:
    lines = []
    for key, item in value.items():
        title = escape(key.replace("_", " "))
        if isinstance(item, dict) and item:
            lines += ["", f"{'#' * min(level, 6)} {title}", "", *_lines(item, level + 1)]
        elif isinstance(item, list) and item:
            lines += ["", f"{'#' * min(level, 6)} {title}", "", *_items(item, level + 1)]
        else:
            lines.append(f"- {title}: {_plain(item)}")
    return lines


def _items(items: list[Json], level: int) -> list[str]:
    lines = []
    for item in items:
        if isinstance(item, dict):
            lines += [*_lines(item, level), ""]
        else:
            lines.append(f"- {_plain(item)}")
    return lines


def _plain(item: Json) -> str:
    if item is None or item in ([], {}):
        return "none"
    return escape(item) if isinstance(item, str) else escape(str(item))
