"""Serves a GGUF model with llama.cpp's own server, inside the `llamacpp` toolchain, until it is ended.

One JSON request on standard input, one JSON line on standard output once the server listens: {"url": …}.
"""

import json
import signal
import sys

import xllamacpp


def parameters(request: dict[str, object]) -> xllamacpp.CommonParams:
    """The server's parameters; everything that could reach beyond loopback or guess a size is switched off."""
    params = xllamacpp.CommonParams()
    params.model.path = request["model"]
    params.model_alias = {request["alias"]}
    params.hostnames = ["127.0.0.1"]
    params.port = request["port"]
    params.n_parallel = request["slots"]
    params.n_ctx = request["slots"] * request["context"]
    params.n_batch = params.n_ubatch = request["batched_tokens"]
    for group in (params.cpuparams, params.cpuparams_batch):
        group.n_threads = request["threads"]
    for side in ("cache_type_k", "cache_type_v"):
        setattr(params, side, getattr(xllamacpp.ggml_type, "GGML_TYPE_" + request["kv_type"]))
    params.cont_batching = True
    params.cache_prompt = request["prefix_caching"]
    params.cache_ram_mib = 0
    params.endpoint_metrics = params.endpoint_slots = True
    params.n_gpu_layers = 0
    params.fit_params = params.ui = False
    params.verbosity = 1
    return params


def main() -> None:
    """Start the server, say where it listens, wait to be ended."""
    request = json.load(sys.stdin)
    server = xllamacpp.Server(parameters(request))
    print(json.dumps({"url": server.listening_address}), flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
