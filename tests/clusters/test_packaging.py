"""Files for one machine: container files, the Compose file and the agent's unit, each held against its own tool."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer.main
import yaml

from cli.main import app
from executors.toolchain import Toolchain, specification

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SCHEMA = json.loads((Path(__file__).parent / "schemas" / "compose-spec.json").read_text())


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """A tool's answer."""
    return subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603


def compose() -> Any:
    """The Compose file."""
    return yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())


@pytest.mark.parametrize("path", sorted((DEPLOY / "docker").glob("*.Dockerfile")), ids=lambda path: path.name)
def test_container_files_pass_the_linter(path: Path, checks: Toolchain) -> None:
    """Hadolint finds nothing, every file that is copied is there, and nothing runs as root."""
    found = run(str(checks.python.parent / "hadolint"), str(path))
    assert found.returncode == 0, found.stdout
    text = path.read_text()
    sources = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    assert sources
    assert all((ROOT / name).exists() for line in sources for name in line.split())
    assert re.search(r"^USER 65532", text, re.MULTILINE)


def test_the_linter_sees_what_is_wrong(checks: Toolchain, tmp_path: Path) -> None:
    """An untagged base image is a finding: the check above can fail."""
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /tmp\n")
    assert run(str(checks.python.parent / "hadolint"), str(tmp_path / "Dockerfile")).returncode == 1


def test_the_engine_s_image_has_the_build_that_is_measured() -> None:
    """The container file pins what the toolchain pins."""
    (pinned,) = (item for item in specification("llamacpp").requirements if item.startswith("xllamacpp"))
    assert pinned in (DEPLOY / "docker" / "llamacpp.Dockerfile").read_text()


def test_compose_follows_the_specification() -> None:
    """The published schema accepts it, every file that it names is there, and nothing listens beyond loopback."""
    file = compose()
    assert [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(file)] == []
    named = [item["file"] for item in file["configs"].values() if "file" in item]
    assert named
    assert all((DEPLOY / "compose" / name).is_file() for name in named)
    ports = [port for service in file["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert all(service["cap_drop"] == ["ALL"] and service["read_only"] for service in file["services"].values())


def test_prometheus_reads_its_configuration_there(tmp_path: Path) -> None:
    """`promtool check config` accepts the file beside the rules, as the containers mount them."""
    for source in (DEPLOY / "compose" / "prometheus.yml", DEPLOY / "prometheus" / "rules.yml"):
        shutil.copy(source, tmp_path)
    found = run("promtool", "check", "config", "--syntax-only", str(tmp_path / "prometheus.yml"))
    assert found.returncode == 0, found.stderr


def test_systemd_accepts_the_agent_s_unit() -> None:
    """`systemd-analyze verify` has nothing to say."""
    found = run("systemd-analyze", "verify", str(DEPLOY / "systemd" / "inferwright.service"))
    assert (found.returncode, found.stderr) == (0, "")


def test_every_command_line_is_one_that_the_agent_takes() -> None:
    """The options in the Compose file, the unit and the chart exist."""
    command: Any = typer.main.get_command(app)
    known = {option for parameter in command.commands["serve"].params for option in parameter.opts}
    texts = [
        " ".join(compose()["services"]["agent"]["command"]),
        (DEPLOY / "systemd" / "inferwright.service").read_text(),
        (DEPLOY / "helm" / "inferwright" / "templates" / "agent.yaml").read_text(),
    ]
    lines = [line for text in texts for line in text.splitlines() if "serve" in line]
    used = {option for line in lines for option in re.findall(r"(?<=[ \[])--[a-z]+", line)}
    assert used == {"--http", "--nats", "--runs"}
    assert used <= known
