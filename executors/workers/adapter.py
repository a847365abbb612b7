"""An OpenAI-compatible server around an engine that is a library: standard library, `tokenizers` and nothing else.

The engine's module has a class with `run(inbox)`, which one thread works in for ever: it takes turns out of the inbox
and puts tokens into them. One `Launch` on standard input, `{"url": …}` on standard output once the model is loaded.
"""

import json
import os
import queue
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

from protocol import Channel
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

MOST_BYTES = 16 * 1024 * 1024
USUAL_TOKENS = 16
"""Of an answer, where the request does not say (OpenAI's own default)."""
END = None


@dataclass
class Turn:
    """One request on its way: the engine puts each token in, then `END`."""

    prompt: list[int]
    count: int
    """Tokens to write at the most; exactly so many where `to_the_end`."""
    to_the_end: bool
    tokens: "queue.SimpleQueue[int | None]" = field(default_factory=queue.SimpleQueue)
    gone: bool = False
    """The client has left: nobody reads what is still written."""


Inbox = queue.SimpleQueue[Turn]


class Engine(Protocol):
    """What an engine's module has."""

    def run(self, inbox: Inbox) -> None:
        """Serve turns for ever, in one thread."""


def taken(inbox: Inbox, most: int, *, wait: bool) -> Iterator[Turn]:
    """Up to `most` turns that are waiting; where `wait`, the first is waited for."""
    for number in range(most):
        try:
            yield inbox.get(block=wait and number == 0)
        except queue.Empty:
            return


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """A request that cannot be served, in a sentence."""


class Service:
    """The engine behind the door, with what the door counts."""

    def __init__(self, request: dict[str, object], engine: Engine) -> None:
        self.alias = request["alias"]
        self._context = request["context"]
        self._tokenizer = Tokenizer.from_file(str(Path(request["model"]) / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._inbox: Inbox = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._counts = {
            "requests_total": 0,
            "requests_running": 0,
            "prompt_tokens_total": 0,
            "generated_tokens_total": 0,
        }
        threading.Thread(target=self._work, args=(engine,), daemon=True).start()

    def _work(self, engine: Engine) -> None:
        try:
            engine.run(self._inbox)
        except BaseException:  # noqa: BLE001 - whatever it was, a server without its engine must not look alive
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    def tokenize(self, text: str) -> list[int]:
        """The tokens of `text`, special ones not added."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def detokenize(self, ids: object) -> str:
        """The text of `ids`.

        Raises:
            Refused: for what are no ids of the model.
        """
        self._check(ids)
        return str(self._tokenizer.decode(ids))

    def _check(self, ids: object) -> None:
        if not isinstance(ids, list) or not ids or not all(type(one) is int for one in ids):
            raise Refused("prompt: a text or a list of token ids is wanted")
        if not all(0 <= one < self._tokenizer.get_vocab_size() for one in ids):
            raise Refused("prompt: there is a token id that the model does not have")

    def begin(self, body: dict[str, object]) -> Turn:
        """A turn in the engine's inbox.

        Raises:
            Refused: for a prompt or a length that cannot be served.
        """
        prompt = body.get("prompt")
        ids = self.tokenize(prompt) if isinstance(prompt, str) else prompt
        self._check(ids)
        count = body.get("max_tokens", USUAL_TOKENS)
        if type(count) is not int or not 1 <= count <= self._context - len(ids):
            raise Refused(f"max_tokens: prompt and answer may have {self._context} tokens together")
        turn = Turn(ids, count, bool(body.get("ignore_eos", False)))
        self._count(requests_total=1, requests_running=1, prompt_tokens_total=len(ids))
        self._inbox.put(turn)
        return turn

    def pieces(self, turn: Turn) -> Iterator[str]:
        """The text of each token as it comes; empty where a character is not whole yet."""
        stream = DecodeStream(skip_special_tokens=True)
        try:
            while (token := turn.tokens.get()) is not END:
                self._count(generated_tokens_total=1)
                yield stream.step(self._tokenizer, token) or ""
        finally:
            turn.gone = True
            self._count(requests_running=-1)

    def metrics(self) -> str:
        """The counts in Prometheus' text form."""
        with self._lock:
            return "".join(f"adapter:{name} {value}\n" for name, value in self._counts.items())

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, value in more.items():
                self._counts[name] += value


class Door(BaseHTTPRequestHandler):
    """One connection; the service hangs on the server."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """`/health`, `/v1/models`, `/metrics`."""
        if self.path == "/health":
            self._json({"status": "ok"})
        elif self.path == "/v1/models":
            self._json({"object": "list", "data": [{"id": self._service.alias, "object": "model"}]})
        elif self.path == "/metrics":
            self._send(HTTPStatus.OK, "text/plain; version=0.0.4", self._service.metrics().encode())
        else:
            self._error(HTTPStatus.NOT_FOUND, "there is no such page")

    def do_POST(self) -> None:
        """`/v1/completions`, `/tokenize` and `/detokenize`."""
        try:
            body = self._body()
            if self.path == "/tokenize":
                self._json({"tokens": self._service.tokenize(str(body.get("content", "")))})
            elif self.path == "/detokenize":
                self._json({"content": self._service.detokenize(body.get("tokens"))})
            elif self.path == "/v1/completions":
                self._complete(body)
            else:
                self._error(HTTPStatus.NOT_FOUND, "there is no such page")
        except Refused as error:
            self._error(HTTPStatus.BAD_REQUEST, str(error))
        except ConnectionError:
            self.close_connection = True  # the client has left; its turn says so already

    def log_message(self, *_: object) -> None:
        """Say nothing of each request: the load test keeps its own rows."""

    @property
    def _service(self) -> Service:
        return self.server.service

    def _body(self) -> dict[str, object]:
        length = int(self.headers.get("Content-Length") or 0)
        if length > MOST_BYTES:
            raise Refused(f"the body may have {MOST_BYTES} bytes")
        try:
            body = json.loads(self.rfile.read(length))
        except (ValueError, RecursionError) as error:
            raise Refused("the body is not JSON") from error
        if not isinstance(body, dict):
            raise Refused("the body is not a JSON object")
        return body

    def _complete(self, body: dict[str, object]) -> None:
        turn = self._service.begin(body)
        name, made = f"cmpl-{uuid.uuid4().hex}", int(time.time())
        kind = {"id": name, "object": "text_completion", "created": made, "model": self._service.alias}
        pieces = self._service.pieces(turn)
        written, said = 0, []
        streamed = bool(body.get("stream"))
        try:
            if streamed:
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
            for piece in pieces:
                written += 1
                if streamed:
                    self._event(kind | {"choices": [{"index": 0, "text": piece, "finish_reason": None}]})
                else:
                    said.append(piece)
        finally:
            pieces.close()
        used = {"prompt_tokens": len(turn.prompt), "completion_tokens": written}
        used["total_tokens"] = sum(used.values())
        choice = {"index": 0, "text": "".join(said), "finish_reason": "length" if written == turn.count else "stop"}
        if not streamed:
            self._json(kind | {"choices": [choice], "usage": used})
            return
        self._event(kind | {"choices": [choice]})
        if (body.get("stream_options") or {}).get("include_usage"):
            self._event(kind | {"choices": [], "usage": used})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, value: dict[str, object]) -> None:
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")

    def _json(self, value: dict[str, object], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _error(self, status: HTTPStatus, message: str) -> None:
        self._json({"error": {"message": message, "type": "invalid_request_error"}}, status)

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    """A thread a connection, loopback only."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, service: Service, port: int) -> None:
        super().__init__(("127.0.0.1", port), Door)
        self.service = service

    def handle_error(self, request: object, client_address: object) -> None:
        """Say what went wrong, but not that a client went away: a health check does as soon as it has the status."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def main(load: Callable[[dict[str, object]], Engine]) -> None:
    """Load the model, then open the door and say where it is."""
    request = json.load(sys.stdin)
    channel = Channel()
    server = Server(Service(request, load(request)), request["port"])
    channel.send("listening", url=f"http://127.0.0.1:{server.server_address[1]}")
    server.serve_forever()
