"""`inferwright plan`: a request's file in, a page or JSON out, and an exit status that says whether it can be met."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.plan import Plan

CONFIG = {
    "model_type": "llama",
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}


def asked(folder: Path, *switches: str, **fields: Any) -> "subprocess.CompletedProcess[str]":
    """The command run on a request of these fields, with `folder` as the only place of models and caches."""
    request = folder / "request.json"
    request.write_text(json.dumps({"cmd": "OPTIMIZE_INFERENCE", **fields}))
    code = "from cli.main import main; main()"
    return subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-c", code, "plan", *switches, str(request)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "INFERWRIGHT_MODELS": str(folder / "models")},
    )


def test_a_folder_with_a_config_is_planned_for(tmp_path: Path) -> None:
    """A model that no catalog knows and whose weights are elsewhere: its config.json says enough."""
    (tmp_path / "models" / "Acme-70B").mkdir(parents=True)
    (tmp_path / "models" / "Acme-70B" / "config.json").write_text(json.dumps(CONFIG))
    done = asked(
        tmp_path,
        "--json",
        model="acme-70b",
        targets={"throughput": 2},
        constraints={"hardware": "2xH100", "engines": ["vllm"]},
    )
    assert done.returncode == 0, done.stderr
    plan = Plan.model_validate_json(done.stdout)
    assert (plan.model, plan.feasible) == ("Acme-70B", True)
    assert plan.launch is not None
    assert plan.launch.checked_against == "vllm 0.32.0"


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"model": "acme-70b"}, 2, "no model named"),
        ({"model": "llama-3-8b", "constraints": {"hardware": "1xWarpDrive"}}, 2, "no hardware named"),
        (
            {"model": "llama-3-70b", "targets": {"latency_p95": 5}, "constraints": {"hardware": "4xA100-80GB"}},
            3,
            "What binds",
        ),
    ],
)
def test_what_cannot_be_planned_has_its_own_status(
    tmp_path: Path, fields: dict[str, Any], status: int, words: str
) -> None:
    """Unknown names are refused with the nearest ones; an infeasible request is answered, with status 3."""
    done = asked(tmp_path, **fields)
    assert done.returncode == status, done.stdout + done.stderr
    assert words in done.stdout + done.stderr
