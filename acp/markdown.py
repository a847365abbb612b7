"""JSON values in, Markdown for people out; text from outside is escaped, so that it stays text."""

from schemas.text import escape

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

LONGEST = 2000


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
    return escape(item, LONGEST) if isinstance(item, str) else escape(str(item), LONGEST)
