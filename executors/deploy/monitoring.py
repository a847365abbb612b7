"""Files for Prometheus that are the same for everybody: rules and a configuration that scrapes agent and engines."""

from pathlib import Path

import yaml

from executors.deploy.alerts import agent_rules
from executors.files import write_whole
from schemas.cluster import Document

RULES = "rules.yml"


def rules() -> str:
    """`rules.yml`: recording and alert rules for services behind the agent's own gateway."""
    groups: Document = {"groups": [*agent_rules()]}
    return "# Made from executors/deploy/alerts.toml by `make docs`.\n" + _yaml(groups)


def write(folder: Path) -> None:
    """The rules, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / RULES, rules())


def _yaml(document: Document) -> str:
    return yaml.safe_dump(document, sort_keys=False, default_flow_style=False, width=120)
