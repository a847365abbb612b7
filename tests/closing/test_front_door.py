"""The command line where there is nobody to talk to, and where it starts a broker of its own."""

import re
import signal
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-m", "cli.main"]
ROOT = Path(__file__).parents[2]


def test_send_without_a_broker_is_one_sentence(tmp_path: Path) -> None:
    """Nobody listens: exit 4, what to do, no traceback, within seconds."""
    file = tmp_path / "ping.json"
    file.write_text('{"cmd":"PING"}')
    argv = [*COMMAND, "send", str(file), "--nats", "nats://127.0.0.1:1"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    assert done.returncode == 4
    assert done.stderr.splitlines() == [
        "inferwright: no NATS server answers at nats://127.0.0.1:1; start one or name it"
    ]


def test_serve_says_where_its_own_broker_listens(tmp_path: Path) -> None:
    """Without --nats a broker starts on a free port; its address is in the log, and a peer is answered there."""
    serve = [*COMMAND, "serve", "--runs", str(tmp_path / "runs")]
    with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True) as agent:  # noqa: S603
        assert agent.stderr is not None
        url = ""
        for line in agent.stderr:
            found = re.search(r"nats://[\d.]+:\d+", line)
            url = found.group() if found else url
            if '"ready"' in line:
                break
        try:
            argv = [*COMMAND, "send", "-", "--nats", url]
            done = subprocess.run(argv, input='{"cmd":"PING"}', capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
        finally:
            agent.send_signal(signal.SIGTERM)
    assert done.returncode == 0
    assert "ping_v1" in done.stdout
