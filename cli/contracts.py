"""The code in, the published contracts out: files under `docs/contracts`."""

import json
from pathlib import Path

import yaml

from acp.contracts import asyncapi, json_schemas, openapi
from handlers.registry import discover


def contracts() -> dict[str, str]:
    """Every contract by its file name."""
    commands = {cmd: handler.command for cmd, handler in discover().items()}
    files = {f"schemas/{name}.json": _json(schema) for name, schema in json_schemas(commands).items()}
    files["openapi.json"] = _json(openapi(commands))
    files["asyncapi.yaml"] = yaml.safe_dump(asyncapi(commands), sort_keys=False, allow_unicode=True, width=120)
    return files


def write(directory: Path) -> None:
    """Write them all."""
    for name, text in contracts().items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def _json(document: dict[str, object]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
