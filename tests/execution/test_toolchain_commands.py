"""`inferwright toolchain`, each verb as a person types it, on a cache of the test's own."""

import json
import os
import subprocess
import sys
from pathlib import Path

from executors import toolchain
from executors.toolchain import STAMP
from schemas.toolchain import ToolchainState


def run(cache: Path, *words: str) -> tuple[int, list[dict[str, object]], str]:
    """Exit status, the JSON printed, and what was said on standard error."""
    env = os.environ | {"INFERWRIGHT_CACHE": str(cache)}
    argv = [sys.executable, "-m", "cli.main", "toolchain", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)  # noqa: S603
    return done.returncode, json.loads(done.stdout or "[]"), done.stderr


def test_a_toolchain_lives_through_every_verb(tmp_path: Path) -> None:
    """Installed, reused, found broken, repaired, removed; `--json` says state and bytes each time."""
    code, (missing, *others), _ = run(tmp_path, "list", "--json")
    assert (code, missing["state"]) == (0, "missing")
    assert {str(one["name"]) for one in (missing, *others)} == set(toolchain.known())

    code, (made,), said = run(tmp_path, "install", "texts", "--json")
    assert (code, made["state"]) == (0, "ready")
    assert int(str(made["bytes"])) > 10**6
    assert "toolchain texts is ready" in said
    stamp = tmp_path / toolchain.FOLDER / "texts" / STAMP
    written = stamp.stat().st_mtime_ns
    assert run(tmp_path, "install", "texts")[0] == 0
    assert stamp.stat().st_mtime_ns == written
    assert run(tmp_path, "verify", "texts", "--json")[0] == 0

    toolchain.Toolchain(toolchain.known()["texts"], stamp.parent).files[0].unlink()
    code, (broken,), said = run(tmp_path, "verify", "texts", "--json")
    assert (code, broken["state"]) == (4, "broken")
    assert "texts" in said
    assert run(tmp_path, "install", "texts", "--json")[1][0]["state"] == "ready"

    code, (gone,), said = run(tmp_path, "remove", "texts", "--json")
    assert (code, gone["state"], gone["bytes"]) == (0, "missing", 0)
    assert "MB are free again" in said


def test_an_unknown_name_is_refused_by_every_verb(tmp_path: Path) -> None:
    """Exit 4 with the names there are, and nothing is made."""
    for verb in ("install", "verify", "remove"):
        code, _, said = run(tmp_path, verb, "nonesuch", "--json")
        assert (code, "there is no toolchain 'nonesuch'" in said) == (4, True)
    assert toolchain.state(toolchain.known()["texts"], tmp_path) is ToolchainState.MISSING
