"""Serves a GGUF model with llama.cpp's own server, inside the `llamacpp` toolchain, until it is ended.

One `LlamaCppLaunch` on standard input, one JSON line on standard output once the server listens: {"url": …}.
"""

import json
import signal
import sys

import xllamacpp

PLAIN = "F16"
MATCH = 4
"""Tokens that must repeat before what once followed them is drafted."""
SPECULATION = {"none": "NONE", "ngram": "NGRAM_SIMPLE", "draft": "DRAFT_SIMPLE"}


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
    kept = getattr(xllamacpp.ggml_type, "GGML_TYPE_" + request["kv_type"])
    params.cache_type_k = params.cache_type_v = kept
    if request["kv_type"] != PLAIN:  # a quantised V cache needs flash attention
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.cont_batching = True
    params.cache_prompt = request["prefix_caching"]
    params.cache_ram_mib = 0
    params.endpoint_metrics = params.endpoint_slots = True
    params.n_gpu_layers = request["gpu_layers"]
    speculate(params, request)
    params.fit_params = params.ui = False
    params.verbosity = 1
    return params


def speculate(params: xllamacpp.CommonParams, request: dict[str, object]) -> None:
    """Draft ahead with a smaller model, or with what the text said before."""
    kind = SPECULATION[request["speculation"]]
    found = params.speculative
    found.types = [getattr(xllamacpp.common_speculative_type, "COMMON_SPECULATIVE_TYPE_" + kind)]
    found.ngram_simple.size_n, found.ngram_simple.size_m = MATCH, request["guesses"]
    if request["draft"] is not None:
        found.draft.mparams.path = request["draft"]
        found.draft.n_max = request["guesses"]
        found.draft.n_gpu_layers = request["gpu_layers"]
        for group in (found.draft.cpuparams, found.draft.cpuparams_batch):
            group.n_threads = request["threads"]


def main() -> None:
    """Start the server, say where it listens, wait to be ended."""
    request = json.load(sys.stdin)
    server = xllamacpp.Server(parameters(request))
    print(json.dumps({"url": server.listening_address}), flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
