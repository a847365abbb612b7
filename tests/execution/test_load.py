"""A load test's arithmetic on rows made by hand, and its features on llama.cpp itself."""

import asyncio
import math
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import orjson
import pytest

from executors.measure import engine_metrics
from executors.measure.builtin import BuiltIn, arrivals
from executors.measure.client import Client, connected
from executors.measure.gpu import Gpus
from executors.measure.level import FEWEST_STEADY, steady_part, summed
from executors.measure.load import run_level
from executors.measure.profile import Profiler
from executors.measure.statistics import rate
from executors.serve.engine import Endpoint, tokens
from executors.serve.llamacpp import serve
from executors.toolchain import Toolchain
from schemas.measurement import Arrivals, LevelSpec, LoadLevel, RequestRow, Sla, TraceEntry
from schemas.plan import Strategy
from schemas.resources import Resources

CLOSED = LevelSpec(arrivals=Arrivals.CONCURRENCY, setting=2, requests=100)
IDLE = Resources(cpu_util=0, engine_cpu_seconds=0, rss_peak_mb=0)
TEXT = "The sea was calm that day, and the ships lay still in the harbour, and nobody spoke of the voyage. " * 20


def row(start_s: float, latency_s: float | None, **fields: object) -> RequestRow:
    """One request of ten output tokens, or one that failed."""
    done = latency_s is not None
    known: dict[str, object] = {
        "index": 0,
        "start_ms": start_s * 1e3,
        "prompt_tokens": 20,
        "output_tokens": 10 if done else 0,
        "ttft_ms": 100.0 if done else None,
        "tpot_ms": 10.0 if done else None,
        "latency_ms": latency_s * 1e3 if latency_s is not None else None,
        "error": None if done else "refused",
    }
    return RequestRow.model_validate(known | fields)


def two_by_two(pairs: int) -> list[RequestRow]:
    """Two requests always open that take a second each, the first two of them three seconds."""
    first = [row(0, 3), row(0, 3)]
    return first + [row(3 + number, 1) for number in range(pairs) for _ in range(2)]


def test_ramps_are_left_out_of_a_long_level() -> None:
    """From the end of the first wave to the last sending: rates and percentiles are those of that part alone."""
    rows = two_by_two(20)
    level = summed(CLOSED, rows, seed=1, duration_s=23, sla=Sla(), resources=IDLE)
    assert level.steady is not None
    assert (level.steady.from_s, level.steady.until_s, level.steady.completed) == (3, 22, 38)
    assert level.throughput_rps.value == pytest.approx(38 / 19)
    assert level.output_tokens_s.value == pytest.approx(380 / 19)
    assert level.throughput_rps.low < level.throughput_rps.value < level.throughput_rps.high
    assert level.latency is not None
    assert level.latency.p99.value == pytest.approx(1000)  # the first wave's 3 s are not among them
    assert (level.requests, level.completed) == (42, 42)


def test_clients_in_step_are_served_no_faster_than_they_are_answered() -> None:
    """Forty open requests of two seconds in the mean are about twenty a second (Little's law).

    Who was answered late in the first wave is answered early in the second, so that all forty end within the one
    second between the end of the first wave and the last sending.
    """
    in_step = LevelSpec(arrivals=Arrivals.CONCURRENCY, setting=40, requests=120)
    first = [row(0, took) for took in np.linspace(1, 3, 40)]
    second = [row(took, 4 - took) for took in np.linspace(1, 3, 40)]
    third = [row(4, 2) for _ in range(40)]
    level = summed(in_step, first + second + third, seed=1, duration_s=6, sla=Sla(), resources=IDLE)
    assert level.steady is not None
    assert (level.steady.from_s, level.steady.until_s, level.steady.completed) == (3, 4, 40)
    assert level.throughput_rps.value == pytest.approx(20, rel=0.15)
    assert level.output_tokens_s.value == pytest.approx(200, rel=0.15)


def test_a_short_level_keeps_its_ramps() -> None:
    """Too few answers within the steady part: everything counts, and no interval of the rate is claimed."""
    rows = two_by_two(FEWEST_STEADY // 2)
    level = summed(CLOSED, rows, seed=1, duration_s=13, sla=Sla(), resources=IDLE)
    assert level.steady is None
    assert level.throughput_rps.value == pytest.approx(22 / 13)
    assert level.throughput_rps.low == level.throughput_rps.high
    trace = LevelSpec(arrivals=Arrivals.TRACE, setting=1, requests=100)
    assert steady_part(trace, two_by_two(100)) is None


def test_failures_and_time_outs_are_counted_apart_and_make_no_percentile() -> None:
    """Of six requests two time out and one fails; goodput counts what kept to the SLA, of all that were sent."""
    rows = [row(0, 1), row(0, 1), row(1, 2), row(1, None), *[row(2, None, timed_out=True)] * 2]
    sla = Sla(latency_ms=1500)
    level = summed(CLOSED, rows, seed=1, duration_s=4, sla=sla, resources=IDLE)
    assert (level.completed, level.errors, level.timeouts, level.failed) == (3, 1, 2, 3)
    assert level.attained == pytest.approx(2 / 6)
    assert level.goodput_rps is not None
    assert level.goodput_rps.value == pytest.approx(2 / 4)
    assert level.latency is not None
    assert level.latency.p99.value < 2001


def test_the_interval_of_a_rate_holds_the_rate() -> None:
    """Of 200 Poisson streams of 4 requests/s, batch means miss the true rate about as often as they say: one in ten."""
    rng = np.random.default_rng(7)
    missed = 0
    for _ in range(200):
        sent = rng.uniform(-10, 40, rng.poisson(4 * 50))
        spans = list(zip(sent, sent + rng.exponential(1, sent.size), strict=True))
        found = rate(spans, [1.0] * sent.size, (0, 30), "requests/s", "")
        missed += not found.low <= 4 <= found.high
    assert 8 <= missed <= 36


def test_arrivals_are_what_they_are_called() -> None:
    """Even gaps are equal; Poisson gaps have the mean asked for and as much deviation; both repeat with the seed."""
    even = [at for at, _ in arrivals(LevelSpec(arrivals=Arrivals.CONSTANT, setting=4, requests=9), 1)]
    assert np.diff(even) == pytest.approx([0.25] * 8)
    poisson = LevelSpec(arrivals=Arrivals.POISSON, setting=4, requests=4000, limit_s=2000)
    gaps = np.diff([at for at, _ in arrivals(poisson, 1)])
    assert gaps.mean() == pytest.approx(0.25, rel=0.05)
    assert gaps.std() == pytest.approx(0.25, rel=0.05)
    assert arrivals(poisson, 1) == arrivals(poisson, 1) != arrivals(poisson, 2)


def test_what_vllm_says_of_itself_is_read() -> None:
    """Two looks at `/metrics`: peaks of gauges, replicas added up, growth of counters; what is not there is None."""
    looks = [
        engine_metrics.parsed(
            "# TYPE vllm:num_requests_waiting gauge\n"
            f'vllm:num_requests_waiting{{engine="0"}} {waiting}\n'
            f'vllm:num_requests_waiting{{engine="1"}} {waiting}\n'
            "# TYPE vllm:kv_cache_usage_perc gauge\n"
            f'vllm:kv_cache_usage_perc{{engine="0"}} {used}\n'
            "# TYPE vllm:generation_tokens counter\n"
            f'vllm:generation_tokens_total{{engine="0"}} {tokens_made}\n'
        )
        for waiting, used, tokens_made in ((1, 0.25, 1000), (3, 0.5, 1240))
    ]
    found = engine_metrics.summed(looks)
    assert found is not None
    assert (found.queue_mean, found.queue_peak, found.kv_used_peak) == (4, 6, 0.5)
    assert (found.generated_tokens, found.prompt_tokens, found.running_peak) == (240, None, None)
    assert engine_metrics.summed([]) is None


def test_gpus_are_read_by_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs by a double of the library, since no GPU is here; without a driver there is no figure."""

    class NVMLError(Exception):
        """As the library raises where there is no driver."""

    nvml = ModuleType("pynvml")
    figures = {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetUtilizationRates": lambda index: SimpleNamespace(gpu=(80, 90)[index]),
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(used=10**9),
        "nvmlDeviceGetPowerUsage": lambda _: 300_000,
    }
    vars(nvml).update(figures)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert Gpus().sample() == (pytest.approx(0.85), 2000, 600)

    def no_driver() -> None:
        raise NVMLError

    nvml.nvmlInit = no_driver  # type: ignore[attr-defined]
    assert Gpus().sample() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Gpus().sample() is None


class Served:
    """llama.cpp with two slots and a prefix cache, and what puts load on it."""

    def __init__(self, endpoint: Endpoint, ids: list[int], rows: Path) -> None:
        self.endpoint = endpoint
        self.ids = ids
        self.rows = rows

    async def level(
        self, level: LevelSpec, *, prompts: list[list[int]], output_tokens: int = 2, timeout_s: float = 60
    ) -> LoadLevel:
        """One level, its rows kept alone."""
        self.rows.unlink(missing_ok=True)
        async with connected(timeout_s) as session:
            generator = BuiltIn(Client(session, self.endpoint, prompts, output_tokens))
            return await run_level(self.endpoint, generator, level, seed=1, rows=self.rows, sla=Sla(latency_ms=60_000))

    def prompts(self, shared: int, own: int) -> list[list[int]]:
        """Eight prompts that begin alike."""
        return [self.ids[:shared] + self.ids[shared + own * at :][:own] for at in range(8)]

    def kept(self) -> list[dict[str, object]]:
        """The raw rows of the last level."""
        return [orjson.loads(line) for line in self.rows.read_bytes().splitlines()]


@pytest.fixture
async def served(llamacpp: Toolchain, shipped: Path, tmp_path: Path) -> AsyncIterator[Served]:
    """The real model, served for one test."""
    strategy = Strategy(
        engine="llama.cpp", weight_format="Q4_1", accelerator="host", max_sequences=2, context=384, prefix_caching=True
    )
    async with serve(strategy, shipped, python=llamacpp.python, log=tmp_path / "log") as endpoint:
        yield Served(endpoint, await tokens(endpoint, TEXT), tmp_path / "rows")


@pytest.mark.real
@pytest.mark.usefixtures("nothing_left")
async def test_every_shape_of_load_on_the_real_engine(served: Served) -> None:
    """Closed loop, even and Poisson rates, a trace, shared prefixes, time-outs; and the engine's own word."""
    own = served.prompts(0, 8)
    closed = await served.level(CLOSED.model_copy(update={"requests": 28}), prompts=own)
    assert (closed.completed, closed.failed) == (28, 0)
    assert closed.steady is not None
    assert closed.steady.completed >= FEWEST_STEADY
    engine = closed.resources.engine
    assert engine is not None
    assert engine.generated_tokens == 28 * 2
    assert engine.running_peak is not None
    assert engine.running_peak <= 2
    assert engine.kv_used_peak is None  # this build of llama.cpp does not say
    assert closed.resources.cpu_util > 0
    assert closed.resources.engine_cpu_seconds > 0
    for kind in (Arrivals.CONSTANT, Arrivals.POISSON):
        open_loop = await served.level(LevelSpec(arrivals=kind, setting=8, requests=4), prompts=own)
        starts = sorted(float(str(one["start_ms"])) for one in served.kept())
        planned = [1e3 * at for at, _ in arrivals(LevelSpec(arrivals=kind, setting=8, requests=4), 1)]
        assert starts == pytest.approx(planned, abs=150)
        assert open_loop.failed == 0
    trace = tuple(TraceEntry(at_s=0.1 * at, input_tokens=5 + at, output_tokens=1 + at) for at in range(3))
    replay = LevelSpec(arrivals=Arrivals.TRACE, setting=10, requests=3, trace=trace)
    assert (await served.level(replay, prompts=own)).failed == 0
    lengths = sorted((one["prompt_tokens"], one["output_tokens"]) for one in served.kept())
    assert lengths == [(5, 1), (6, 2), (7, 3)]
    shared = await served.level(CLOSED.model_copy(update={"requests": 8}), prompts=served.prompts(100, 8))
    assert 0.5 < shared.cached_share < 1
    assert closed.cached_share < shared.cached_share
    late = await served.level(CLOSED.model_copy(update={"requests": 2}), prompts=own, output_tokens=300, timeout_s=0.4)
    assert (late.completed, late.errors, late.timeouts) == (0, 0, 2)
    assert late.attained == 0


@pytest.mark.real
@pytest.mark.usefixtures("nothing_left")
async def test_a_profile_names_where_the_time_goes(served: Served, tmp_path: Path) -> None:
    """Under load, by perf: the arithmetic kernels lead; py-spy is not there and says so; shares are shares."""
    async with connected(60) as session:
        generator = BuiltIn(Client(session, served.endpoint, served.prompts(0, 16), 16))
        profiler = Profiler(tmp_path / "profile.log", None, seconds=2)
        found = await asyncio.wait_for(profiler.profile(served.endpoint, generator, CLOSED, "2 open requests"), 60)
    assert any("py-spy is not installed" in note for note in found.notes)
    if found.hotspots:
        shares = [spot.share for spot in found.hotspots]
        assert shares == sorted(shares, reverse=True)
        assert math.fsum(shares) <= 1.001
        assert any("ggml" in spot.where for spot in found.hotspots)
    else:  # perf is missing or may not sample: one sentence says which
        assert any(note.startswith("perf") for note in found.notes)
