"""guidellm and the built-in client on the same server; run by `make test-toolchains` only."""

import sys
from pathlib import Path

import orjson
import pytest
from conftest import CACHE

from executors import toolchain
from executors.measure.builtin import BuiltIn
from executors.measure.client import Client, connected
from executors.measure.guidellm import TOOLCHAIN, Guidellm
from executors.measure.load import LoadGenerator, run_level
from executors.measure.paired import interleaved, paired_ratio
from executors.process import Child
from executors.serve.engine import Endpoint, tokens
from executors.serve.llamacpp import serve
from executors.toolchain import Toolchain
from executors.worker import Workbench
from handlers.workbench.conditions import DISTURBING_CORES
from schemas.measurement import Arrivals, LevelSpec, LoadLevel, TraceEntry
from schemas.plan import Strategy

pytestmark = [pytest.mark.real, pytest.mark.timeout(900), pytest.mark.usefixtures("nothing_left")]
STRATEGY = Strategy(engine="llama.cpp", weight_format="Q4_1", accelerator="host", max_sequences=4, context=256)
TEXT = "The sea was calm that day, and the ships lay still in the harbour, and nobody spoke of the voyage. " * 40
NAMES = ("requests/s", "TTFT p50", "TPOT p50")
ROUNDS = 5
ALIKE, GROSS = 0.25, 0.75
"""By so much figures may differ that are called alike, where a core is free and where none is."""
TOKENS, TTFT_MS, TPOT_MS = 16, 400, 40
PACED = Path(__file__).with_name("paced_server.py")


def guidellm(built_in: BuiltIn, folder: Path, timeout_s: float = 60) -> Guidellm:
    """The generator out of its toolchain, which must be there."""
    bench = Workbench(toolchain.find(TOOLCHAIN, CACHE), 1, folder / "guidellm.log")
    return Guidellm(built_in, timeout_s=timeout_s, bench=bench, folder=folder)


def figures(level: LoadLevel) -> tuple[float, float, float]:
    """Throughput, and the medians of TTFT and TPOT."""
    assert level.failed == 0
    assert level.ttft is not None
    assert level.tpot is not None
    return level.throughput_rps.value, level.ttft.p50.value, level.tpot.p50.value


async def test_both_generators_measure_what_is_true(tmp_path: Path) -> None:
    """On a server whose tokens come at fixed times each tells those times, on a busy machine too."""
    argv = [sys.executable, str(PACED), str(TTFT_MS), str(TPOT_MS)]
    level = LevelSpec(arrivals=Arrivals.CONCURRENCY, setting=4, requests=32)
    expected = (1e3 * level.setting / (TTFT_MS + (TOKENS - 1) * TPOT_MS), TTFT_MS, TPOT_MS)
    async with Child(argv, log=tmp_path / "log", read_output=True) as server, connected(60) as session:
        url = (await anext(server.lines())).decode()
        endpoint = Endpoint(url, "paced", server.process.pid, 0)
        built_in = BuiltIn(Client(session, endpoint, [list(range(16))], TOKENS))
        for generator in (built_in, guidellm(built_in, tmp_path)):
            told = await run_level(endpoint, generator, level, seed=1, rows=tmp_path / "rows")
            print(f"{generator.name}: {figures(told)}, true are {expected}")  # noqa: T201
            assert figures(told) == pytest.approx(expected, rel=ALIKE)


async def test_both_generators_agree_within_noise(llamacpp: Toolchain, shipped: Path, tmp_path: Path) -> None:
    """The same closed loop on the real engine in turn by each: alike within noise, in all three figures.

    Guidellm takes a core of its own. Beside other work it takes it from the engine, and only gross disagreement counts.
    """
    level = LevelSpec(arrivals=Arrivals.CONCURRENCY, setting=4, requests=24)

    async def ignore(_: int, __: int, ___: LoadLevel) -> None:
        pass

    async with serve(STRATEGY, shipped, python=llamacpp.python, log=tmp_path / "log") as endpoint, connected(60) as own:
        ids = await tokens(endpoint, TEXT)
        prompts = [ids[48 * at :][:48] for at in range(16)]
        built_in = BuiltIn(Client(own, endpoint, prompts, TOKENS))
        other = guidellm(BuiltIn(Client(own, endpoint, prompts, TOKENS)), tmp_path)
        sides: list[tuple[Endpoint, LoadGenerator]] = [(endpoint, built_in), (endpoint, other)]
        found = await interleaved(sides, level, rounds=ROUNDS, rows=tmp_path / "rows", on_round=ignore)
    busy = max(one.resources.other_cores for one in found[0])
    far = ALIKE if busy <= DISTURBING_CORES else GROSS
    ours, theirs = (list(zip(*map(figures, side), strict=True)) for side in found)
    ratios = {name: paired_ratio(*pair, name) for name, *pair in zip(NAMES, ours, theirs, strict=True)}
    for name, ratio in ratios.items():
        print(f"guidellm over built-in, {name}: {ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f})")  # noqa: T201
    print(f"other work kept at most {busy:.1f} cores busy")  # noqa: T201
    assert {name: ratio.value for name, ratio in ratios.items()} == dict.fromkeys(NAMES, pytest.approx(1, rel=far))


async def test_rates_traces_and_time_outs_by_guidellm(llamacpp: Toolchain, shipped: Path, tmp_path: Path) -> None:
    """Arrivals at their times, lengths as the trace says, a request that takes too long counted as timed out."""
    trace = tuple(TraceEntry(at_s=0.5 * at, input_tokens=8 + 4 * at, output_tokens=2 + at) for at in range(3))
    async with serve(STRATEGY, shipped, python=llamacpp.python, log=tmp_path / "log") as endpoint, connected(60) as own:
        ids = await tokens(endpoint, TEXT)
        built_in = BuiltIn(Client(own, endpoint, [ids[:16], ids[16:32]], 4))
        rows = tmp_path / "rows"

        async def level(spec: LevelSpec, timeout_s: float = 60) -> tuple[LoadLevel, list[dict[str, float]]]:
            rows.unlink(missing_ok=True)
            generator = guidellm(built_in, tmp_path, timeout_s)
            told = await run_level(endpoint, generator, spec, seed=1, rows=rows)
            return told, [orjson.loads(line) for line in rows.read_bytes().splitlines()]

        even, kept = await level(LevelSpec(arrivals=Arrivals.CONSTANT, setting=2, requests=4))
        assert even.failed == 0
        assert [row["start_ms"] for row in kept] == pytest.approx([0, 500, 1000, 1500], abs=250)
        replayed, kept = await level(LevelSpec(arrivals=Arrivals.TRACE, setting=2, requests=3, trace=trace))
        assert replayed.failed == 0
        assert [row["output_tokens"] for row in kept] == [2, 3, 4]
        assert [row["prompt_tokens"] for row in kept] == pytest.approx([8, 12, 16], abs=1)
        long = LevelSpec(
            arrivals=Arrivals.TRACE,
            setting=1,
            requests=1,
            trace=(TraceEntry(at_s=0, input_tokens=200, output_tokens=4),),
        )
        late, _ = await level(long, timeout_s=0.15)
        assert (late.completed, late.errors, late.timeouts) == (0, 0, 1)
