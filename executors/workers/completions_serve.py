"""Serves one model for scoring, in OpenAI's manner, until it is ended; llama.cpp's own server gives no prompt scores.

Request: `model` (GGUF or folder), `engine`, `n_ctx`, `threads`. Result: `url`, once it listens on loopback.

`POST /v1/completions` takes token ids with `echo`, `logprobs`, `max_tokens` of 0 or 1, `return_tokens_as_token_ids`;
`/tokenizer_info`, `/tokenize` and `/detokenize` are as vLLM has them. One request at a time.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from protocol import Channel, WorkerError, serve
from scoring import log_softmax

LLAMA_CPP = "llama.cpp"


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """A request that this server cannot answer."""


def open_model(request: dict[str, Any]) -> Any:  # noqa: ANN401 - each toolchain has another
    """The model, by the engine that loads it; imported only here, because each toolchain has only some of them."""
    settings = {"n_ctx": request["n_ctx"], "threads": request["threads"]}
    if request["engine"] == LLAMA_CPP:
        from libllama import Library  # noqa: PLC0415
        from llama_model import Model  # noqa: PLC0415

        return Model(Library(), request["model"], **settings)
    from engines import Folder  # noqa: PLC0415

    return Folder(Path(request["model"]), request["engine"], **settings)


def complete(model: Any, body: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - as above
    """The answer to one request for completions."""
    prompt = body.get("prompt")
    prompts = [prompt] if prompt and isinstance(prompt[0], int) else prompt
    if not prompts or not all(isinstance(token, int) for tokens in prompts for token in tokens):
        raise Refused("prompt must be token ids: this server is for scoring")
    if body.get("max_tokens", 1) not in {0, 1} or not all(len(tokens) < model.n_ctx for tokens in prompts):
        raise Refused(f"prompts must be shorter than {model.n_ctx} tokens and max_tokens 0 or 1")
    choices = [
        {"index": index, "finish_reason": "length", **choice(model, tokens, body)}
        for index, tokens in enumerate(prompts)
    ]
    return {"object": "text_completion", "model": body.get("model"), "choices": choices}


def choice(model: Any, tokens: list[int], body: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - as above
    """One prompt, with the likeliest token after it where one is asked for, and its log-probabilities."""
    logp = log_softmax(np.asarray(model.evaluate(tokens, range(len(tokens)))))
    full = tokens + [int(logp[-1].argmax())] * body.get("max_tokens", 1)
    start = 0 if body.get("echo") else len(tokens)
    answer: dict[str, Any] = {"text": model.decode(full[start:]), "logprobs": None}
    if body.get("logprobs") is not None:
        by_id = body.get("return_tokens_as_token_ids")

        def label(token: int) -> str:
            return f"token_id:{token}" if by_id else model.decode([token])

        def top(at: int) -> dict[str, float]:
            row, count = logp[at - 1], max(1, body["logprobs"])
            best = np.argpartition(-row, count)[:count]
            return {label(int(token)): float(row[token]) for token in (*best, full[at])}

        places = range(start, len(full))
        answer["logprobs"] = {
            "tokens": [label(full[at]) for at in places],
            "token_logprobs": [float(logp[at - 1, full[at]]) if at else None for at in places],
            "top_logprobs": [top(at) if at else None for at in places],
        }
    return answer


class Handler(BaseHTTPRequestHandler):
    """Answers over the one model."""

    model: ClassVar[Any]

    def do_GET(self) -> None:
        """Health, and what the tokenizer ends a text with."""
        told = {"/health": {}, "/tokenizer_info": {"eos_token": self.model.end_token}}
        self._answer(200, told[self.path]) if self.path in told else self._answer(404, {"error": "not found"})

    def do_POST(self) -> None:
        """Completions, and text to tokens and back."""
        actions = {
            "/v1/completions": lambda body: complete(self.model, body),
            "/tokenize": lambda body: {"tokens": self.model.encode(body["prompt"], special=True)},
            "/detokenize": lambda body: {"prompt": self.model.decode(body["tokens"])},
        }
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            self._answer(200, actions[self.path](body))
        except KeyError as error:
            self._answer(404, {"error": f"there is no {error}"})
        except Refused as error:
            self._answer(400, {"error": str(error)})
        except WorkerError as error:
            self._answer(500, {"error": error.detail})

    def log_message(self, *_: object) -> None:
        """Hundreds of requests a minute are no news."""

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


def run(request: dict[str, Any], channel: Channel) -> None:
    """Load, listen, answer until ended."""
    Handler.model = open_model(request)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    channel.send("result", url=f"http://127.0.0.1:{server.server_port}")
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(serve(run))
