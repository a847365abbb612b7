"""guidellm and the built-in client on the same server; run by `make test-toolchains` only."""

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
from executors.serve.engine import Endpoint, tokens
from executors.serve.llamacpp import serve
from executors.toolchain import Toolchain
from executors.worker import Workbench
from schemas.evidence import Estimate
from schemas.measurement import Arrivals, LevelSpec, LoadLevel, TraceEntry
from schemas.plan import Strategy

pytestmark = [pytest.mark.real, pytest.mark.timeout(900), pytest.mark.usefixtures("nothing_left")]
STRATEGY = Strategy(engine="llama.cpp", weight_format="Q4_1", accelerator="host", max_sequences=4, context=256)
TEXT = "The sea was calm that day, and the ships lay still in the harbour, and nobody spoke of the voyage. " * 40
NAMES = ("requests/s", "TTFT p50", "TPOT p50")
ROUNDS, MOST_ROUNDS = 5, 20
ALIKE = 1.25
"""Of two figures that are called alike the larger one is at most so many times the other."""


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


def ratio(ours: list[float], theirs: list[float]) -> Estimate:
    """Guidellm's over the built-in client's, paired by round, with its 90 % interval."""
    return paired_ratio(ours, theirs, "ratio")


def agree(ours: list[float], theirs: list[float]) -> bool:
    """Whether the two are shown to be alike: the whole interval of their ratio is near one, so noise shows nothing."""
    found = ratio(ours, theirs)
    return found.low >= 1 / ALIKE and found.high <= ALIKE


async def test_both_generators_agree_within_noise(llamacpp: Toolchain, shipped: Path, tmp_path: Path) -> None:
    """The same closed loop in turn by each; a noisier machine needs more rounds until both are shown alike."""
    level = LevelSpec(arrivals=Arrivals.CONCURRENCY, setting=4, requests=32)

    async def ignore(_: int, __: int, ___: LoadLevel) -> None:
        pass

    pairs: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in NAMES}
    async with serve(STRATEGY, shipped, python=llamacpp.python, log=tmp_path / "log") as endpoint, connected(60) as own:
        ids = await tokens(endpoint, TEXT)
        prompts = [ids[48 * at :][:48] for at in range(16)]
        built_in = BuiltIn(Client(own, endpoint, prompts, 16))
        other = guidellm(BuiltIn(Client(own, endpoint, prompts, 16)), tmp_path)
        sides: list[tuple[Endpoint, LoadGenerator]] = [(endpoint, built_in), (endpoint, other)]
        for _ in range(0, MOST_ROUNDS, ROUNDS):
            found = await interleaved(sides, level, rounds=ROUNDS, rows=tmp_path / "rows", on_round=ignore)
            for ours, theirs in zip(*found, strict=True):
                for name, one, two in zip(NAMES, figures(ours), figures(theirs), strict=True):
                    pairs[name][0].append(one)
                    pairs[name][1].append(two)
            if all(agree(*pair) for pair in pairs.values()):
                break
    for name, pair in pairs.items():
        said, rounds = ratio(*pair), len(pair[0])
        print(f"guidellm over built-in, {name}: {said.value:.3f} ({said.low:.3f} to {said.high:.3f}, {rounds} rounds)")  # noqa: T201
    assert [name for name, pair in pairs.items() if not agree(*pair)] == []


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
        late, _ = await level(long, timeout_s=0.05)
        assert (late.completed, late.errors, late.timeouts) == (0, 0, 1)
