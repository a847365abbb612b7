"""Serves a folder of safetensors with vLLM's own OpenAI server, inside the `vllm-cpu` toolchain, until it is ended.

One `VllmLaunch` on standard input, one JSON line on standard output once the port is bound: {"url": …}. vLLM starts its
engine as another process of this group, which imports this file again.
"""

import json
import os
import sys

import uvloop
import vllm_cpu  # noqa: F401 - before vllm: it sets what vLLM reads when it is imported
from protocol import Channel
from vllm.entrypoints.launchers.api_server.entry import run_server_worker
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.entrypoints.launchers.launcher import create_server_socket
from vllm.utils.argparse_utils import FlexibleArgumentParser

LOOPBACK = "127.0.0.1"


def main() -> None:
    """Bind a free port, say which, and run the server on it."""
    request = json.load(sys.stdin)
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(request["cache_gib"])
    arguments = make_arg_parser(FlexibleArgumentParser()).parse_args(request["arguments"])
    validate_parsed_serve_args(arguments)
    sock = create_server_socket((LOOPBACK, request["port"]), reuse_port=False)
    arguments.port = sock.getsockname()[1]
    url = f"http://{LOOPBACK}:{arguments.port}"
    Channel().send("listening", url=url)
    uvloop.run(run_server_worker(url, sock, arguments))


if __name__ == "__main__":
    main()
