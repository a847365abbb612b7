"""Takes the place of `workers/llamacpp_serve.py` where an engine must be slow, fail or die on purpose: by its alias."""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ASKED = json.load(sys.stdin)
HOW = ASKED["alias"].split("-")[0]
SECONDS = {"slow": 0.25, "fast": 0.01}.get(HOW, 0.03)
TOKEN_S = 0.04
"""Of one that is batching: for each token, times those that are open, as on a machine without arithmetic to spare."""
OPEN: list[None] = []


class Answers(BaseHTTPRequestHandler):
    """Healthy, and as good as its name."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self, status: int) -> None:
        """An empty object."""
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_GET(self) -> None:
        """`/health`."""
        self.answer(200)

    def do_POST(self) -> None:
        """A completion."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if HOW == "batching":
            OPEN.append(None)
            for _ in range(json.loads(body)["max_tokens"]):
                time.sleep(TOKEN_S * len(OPEN))
            OPEN.pop()
        else:
            time.sleep(SECONDS)
        self.answer(500 if HOW == "failing" else 200)


class Server(ThreadingHTTPServer):
    """With room for a burst."""

    request_queue_size = 64
    daemon_threads = True


if HOW == "dying":
    sys.exit("no such model")
Server(("127.0.0.1", ASKED["port"]), Answers).serve_forever()
