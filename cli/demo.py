"""The first run: tools, a broker, an agent and a peer on this machine; a real model optimized, and the report."""

import asyncio
import contextlib
import shutil
from pathlib import Path

import orjson

from acp.logs import configure
from acp.settings import Settings
from cli.board import Board
from cli.places import workshop
from cli.report import run_report
from cli.send import Sent, Watch, send
from cli.serve import serve
from executors import toolchain
from executors.broker import Broker
from executors.files import partial
from handlers.workshop import Workshop
from schemas.error import AgentError, ErrorCode
from schemas.status import JobState

TOOLCHAINS = ("llamacpp", "smollm2", "texts")
COMMAND = {
    "cmd": "OPTIMIZE_INFERENCE",
    "model": "SmolLM2-135M-Instruct",
    "targets": {"latency_p95": "8s", "throughput": 0.8},
    "constraints": {"max_quality_loss": 0.02, "hardware": "host"},
    "workload": {"input_tokens": 64, "output_tokens": 24},
    "mode": "run",
    "respond_format": "PERFORMANCE_REPORT",
}


async def run_demo(runs: Path) -> None:
    """Install what is missing, run the main job, print its report.

    Raises:
        AgentError: where a tool cannot be installed, or the job fails.
    """
    place = workshop()
    runs.mkdir(parents=True, exist_ok=True)
    with Board() as board, contextlib.ExitStack() as stack:
        await provide(place, board)
        async with Broker(runs / "broker") as broker:
            board.note(f"nats-server with JetStream on {broker.url}")
            configure(file=stack.enter_context((runs / "agent.log").open("a")))
            sent = await _converse(Settings(nats_urls=(broker.url,), runs_dir=runs), board)
    if sent.job is None or sent.terminal is None:
        raise AgentError(ErrorCode.INTERNAL, "the agent answered without starting a job; try again")
    final = sent.terminal.inference_status
    if final.state in {JobState.FAILED, JobState.CANCELLED}:
        raise AgentError(ErrorCode(final.error or ErrorCode.INTERNAL), final.detail)
    run_report(sent.job, runs, json=False)
    board.note(f"everything is kept in {runs / sent.job}")


async def provide(place: Workshop, board: Board) -> None:
    """Toolchains and the demo's weights, made where they are missing."""
    for name in TOOLCHAINS:
        board.doing(f"toolchain {name}")
        await toolchain.install(toolchain.specification(name), place.cache, board.doing)
        board.note(f"toolchain {name} is ready")
    (source,) = toolchain.find("smollm2", place.cache).files
    target = place.model_roots[0] / source.name
    if not target.exists():
        with partial(target) as draft:
            await asyncio.to_thread(shutil.copyfile, source, draft)
            draft.replace(target)
    board.note(f"weights: {target.name}, {target.stat().st_size / 1e6:.0f} MB")


async def _converse(settings: Settings, board: Board) -> Sent:
    """An agent in this process, and a peer that sends it the command and follows the job."""
    stop, ready = asyncio.Event(), asyncio.Event()
    agent = asyncio.create_task(serve(settings, stop=stop, ready=lambda _: ready.set(), signals=False))
    agent.add_done_callback(lambda _: ready.set())
    await ready.wait()
    try:
        if agent.done():
            await agent
        board.note("agent ready; the peer sends OPTIMIZE_INFERENCE")
        watch = Watch(accepted=lambda job: board.note(f"accepted as job {job}"), status=board.update)
        sending = asyncio.create_task(send(orjson.dumps(COMMAND), settings.nats_urls[0], sender="demo", watch=watch))
        try:
            await asyncio.wait({sending, agent}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                await agent
            return await sending
        finally:
            sending.cancel()
    finally:
        stop.set()
        with contextlib.suppress(asyncio.CancelledError):
            await agent
