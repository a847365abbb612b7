import io
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from acp.envelope import Kind, classify
from cli.classify import classify_lines

PEERS = {
    b'{"cmd":"DEPLOY_STATUS","component_id":"production_pipeline","infrastructure":{"nodes":12},'
    b'"deployment":{"avg_deploy_time":"4.2m"},"respond_format":"STRUCTURED_JSON"}': (Kind.COMMAND, "DEPLOY_STATUS"),
    b'{"platform_status":{"compute":{"cpu_util":0.65},"network":{"latency_p95":"45ms","throughput":"2.3Gbps"}},'
    b'"optimization":["scale_down_dev"],"hash":"infra_prod_2024"}': (Kind.STATUS, None),
    b'{"cmd":"PERF_ANALYSIS","metrics":{"throughput":"450k_ops/s","memory_peak":"2.4GB"}}': (
        Kind.COMMAND,
        "PERF_ANALYSIS",
    ),
    b'{"cmd":"ASSIGN","to":"inference-optimization-specialist","task":{}}': (Kind.COMMAND, "ASSIGN"),
    b'{"status":"READY","hash":"a"}': (Kind.STATUS, None),
    b'{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"hash":"h"}': (Kind.STATUS, None),
    b'{"cmd":7,"hash":"h"}': (Kind.STATUS, None),
    b'{"query":"who is there"}': (Kind.REFUSED, None),
    '{"Δ":{"latency":-0.2}}'.encode(): (Kind.REFUSED, None),
    b'{"cmd":"PING" /* hello */}': (Kind.REFUSED, None),
}


@pytest.mark.parametrize(("body", "expected"), PEERS.items())
def test_the_familys_messages_are_classified(body: bytes, expected: tuple[Kind, str | None]) -> None:
    """Commands, statuses of one to eight keys, and what is neither."""
    envelope = classify(body)

    assert (envelope.kind, envelope.cmd) == expected


def test_classify_prints_a_line_for_every_line() -> None:
    """Bad lines, empty ones and control characters do not stop it."""
    out = io.BytesIO()
    classify_lines([b'{"cmd":"PING"}\n', b"\n", b"\xff\xfe\n", b"[" * 5000 + b"\n", b'{"hash":1}'], out)

    verdicts = [orjson.loads(line) for line in out.getvalue().splitlines()]
    assert [verdict["kind"] for verdict in verdicts] == ["command", "refused", "refused", "refused", "status"]
    assert verdicts[0] == {"kind": "command", "cmd": "PING", "error": None}
    assert verdicts[1] == {"kind": "refused", "cmd": None, "error": "invalid_json"}


def test_the_imports_go_only_as_drawn() -> None:
    """Acp knows no handler: a fresh interpreter that imports the service has loaded none."""
    above = "{'handlers', 'planners', 'executors', 'cli'}"
    code = f"import sys, acp.service, acp.bridge.app; print([m for m in sys.modules if m.split('.')[0] in {above}])"
    shown = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )

    assert shown.stdout.strip() == "[]"
