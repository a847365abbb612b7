"""Puts one level of load on an OpenAI-compatible endpoint with guidellm; inside the `guidellm` toolchain.

Answers one line for each request that was answered or failed, times in seconds since the epoch. What was still under
way when the time was up is left out.
"""

import asyncio
import os
import sys

os.environ["GUIDELLM__MAX_WORKER_PROCESSES"] = str(max(1, (os.cpu_count() or 1) // 4))
os.environ["GUIDELLM__LOGGING__CONSOLE_LOG_LEVEL"] = "WARNING"

from protocol import Channel, serve


def scenario(request: dict[str, object]) -> dict[str, object]:
    """The configuration as guidellm takes it; the data has prompts as text, so that no tokenizer is needed."""
    replay = {"kind": "replay", "schedule_turn": "timestamp"}
    streams = request["streams"]
    return {
        "backend": {
            "kind": "openai_http",
            "target": request["url"],
            "model": request["model"],
            "request_format": "/v1/completions",
            "http2": False,
            "timeout": request["timeout_s"],
            "extras": {"body": {"temperature": 0}},
        },
        "profile": {"kind": "concurrent", "streams": [streams]} if streams else replay,
        "constraints": [
            {"kind": "max_requests", "count": request["requests"]},
            {"kind": "max_duration", "seconds": request["seconds"]},
        ],
        "data": [{"kind": "json_file", "path": request["data"]}],
        "outputs": [],
    }


def handle(request: dict[str, object], channel: Channel) -> None:
    """Run the level, report its requests."""
    import guidellm.entrypoints as guidellm  # noqa: PLC0415 - its import starts with the settings above
    from guidellm.schemas.benchmark import BenchmarkScenario  # noqa: PLC0415

    args = BenchmarkScenario.create(scenario=None, spec=scenario(request))
    report, _ = asyncio.run(guidellm.benchmark_generative_text(args=args, progress=False, console=None))
    requests = report.benchmarks[0].requests
    for one in (*requests.successful, *requests.errored):
        times = one.info.timings
        channel.send(
            "request",
            start_s=times.request_start or times.resolve_start,
            end_s=times.request_end or times.resolve_end,
            first_s=times.first_token_iteration,
            last_s=times.last_token_iteration,
            prompt_tokens=one.prompt_tokens or 0,
            output_tokens=one.output_tokens or 0,
            cached_tokens=one.cached_tokens or 0,
            error=one.info.error,
        )


if __name__ == "__main__":
    sys.exit(serve(handle))
