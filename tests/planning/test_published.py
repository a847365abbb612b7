"""Rows of publications: what a row says of layouts, engines and load, and which runs contradict each other."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.fit import FILES, SHARPNESS
from benchmarks.rows import REFERENCE, Row, consistent, load
from planners.catalog import find_hardware, find_model
from planners.performance.calibration import calibration
from planners.performance.names import engine_of
from planners.performance.observe import Observations
from planners.performance.physics import Bench
from planners.performance.published import Condition, Regime, condition
from planners.performance.service import capacity
from planners.performance.silicon import available, kernels_of
from planners.performance.work import Work
from planners.sizes import kv_bytes_per_sequence

ROW = {
    "framework": "vLLM 0.12",
    "model": "Qwen3-32B",
    "precision": "BF16",
    "hardware": "H100",
    "hw_key": "H100-SXM",
    "accel_count": "1",
    "isl": "1024",
    "osl": "256",
    "batch_or_concurrency": "8",
    "tp": "1",
    "metric": "output_throughput_total",
    "note": "",
}
SMALL = {"model": "Llama-3.1-8B"}
"""Leaves an accelerator room for many requests."""
MLPERF = {"isl": "LongBench set", "osl": "see note", "framework": "TensorRT-LLM (TensorRT 10.11)", "tp": ""}


def case(**changes: str) -> Condition:
    """The condition of a row with some cells changed."""
    row = ROW | changes
    return condition(row, find_model(row["model"]), find_hardware(row["hw_key"])[0].accelerator)


def run(metric: str, number: int, requests: int, value: float) -> Row:
    """A measurement of one server with so many open requests."""
    return Row(f"{metric}{number}", case(metric=metric, batch_or_concurrency=str(requests)), value, "somebody")


def test_a_suite_splits_what_it_serves_further_than_what_it_queues() -> None:
    """Llama-3.1-405B in four bits on eight B200, as MLPerf 5.1 systems state it; a stated layout is kept."""
    large = MLPERF | {"model": "Llama-3.1-405B", "precision": "NVFP4", "hw_key": "B200", "accel_count": "8"}
    queued = case(**large, metric="output_throughput_total_offline", batch_or_concurrency="Offline")
    served = case(**large, metric="output_throughput_total_server", batch_or_concurrency="Server")
    stated = case(**large | {"tp": "8"}, metric="output_throughput_total_server", batch_or_concurrency="Server")
    nothing = case(**large | {"tp": "0"}, metric="output_throughput_total_server", batch_or_concurrency="Server")
    assert [(one.tp, one.replicas) for one in (queued, served, stated)] == [(2, 4), (4, 2), (8, 1)]
    assert (nothing.tp, nothing.replicas) == (served.tp, served.replicas)


@pytest.mark.parametrize(
    ("framework", "note", "engine"),
    [
        ("vLLM 0.6", "MLPerf v4.1 closed", "vllm/mlperf"),
        ("vLLM 0.10", "MLPerf v5.1 closed", "vllm/mlperf5"),
        ("vLLM 0.10 upstream", "MLPerf v5.1 closed", "vllm"),
    ],
)
def test_tuned_systems_are_variants_by_their_year(framework: str, note: str, engine: str) -> None:
    """A suite's systems are tuned, those of 2025 with a year's versions more; what everybody can have is not."""
    assert case(**MLPERF | {"isl": "OpenOrca set", "framework": framework, "note": note}).engine == engine


@pytest.mark.parametrize(
    ("framework", "engine"),
    [
        ("llama.cpp (May 2024)", "llama.cpp/early"),
        ("Llama.cpp", "llama.cpp/undated"),
        ("llama.cpp b10066 (CUDA)", "llama.cpp"),
        ("Ollama (Sep 2025)", "llama.cpp"),
        ("vLLM", "vllm/undated"),
        ("vLLM 0.5.4", "vllm/early"),
        ("vLLM 0.12", "vllm"),
        ("TensorRT-LLM 0.6.1", "tensorrt-llm/2023"),
        ("TensorRT-LLM 0.13", "tensorrt-llm/static"),
        ("TensorRT-LLM 1.2", "tensorrt-llm"),
    ],
)
def test_older_releases_are_variants_of_their_engine(framework: str, engine: str) -> None:
    """What plans are made for has no variant; what nothing dates is neither old nor new."""
    assert engine_of(framework) == engine


def test_systems_of_highest_efficiency_are_slower() -> None:
    """H200 in MLPerf 4.1: those that are limited to 500 of 700 W reach four fifths of the usual rate."""
    cells = MLPERF | {"model": "Llama-2-70B", "precision": "FP8", "hw_key": "H200-SXM", "isl": "OpenOrca set"}
    cells |= {"metric": "output_throughput_total_offline", "batch_or_concurrency": "Offline"}
    cases = [case(**cells, source=f"results/H200-SXM-141GBx1_TRT{name}/llama2") for name in ("", "_MaxQ")]
    usual, frugal = Observations.of(cases).expected(calibration())
    assert 0.75 < frugal / usual < 0.9


def test_beams_share_what_they_keep_and_attend_each() -> None:
    """GPT-J in MLPerf 4.1 with four beams: no faster for an H200's bandwidth and room than on an H100."""
    cells = MLPERF | {"model": "GPT-J-6B", "precision": "FP8", "isl": "CNN/DailyMail set"}
    cells |= {"metric": "samples_per_s_offline", "batch_or_concurrency": "Offline", "note": "MLPerf v4.1"}
    load = Observations.of([case(**cells, hw_key=key) for key in ("H100-SXM", "H200-SXM")])
    assert load.parts[0].beams.tolist() == [4.0, 4.0]
    slow, fast = load.expected(calibration())
    assert fast == pytest.approx(slow, rel=0.05)
    alone = Observations(load.count, load.subjects, (replace(load.parts[0], beams=np.ones(2)),))
    slow, fast = alone.expected(calibration())
    assert fast > 1.1 * slow


@pytest.mark.parametrize(("kv", "kept"), [("FP8", 656 + 132), ("FP16", 1152 + 132)])
def test_a_cache_of_selected_tokens_keeps_what_engines_keep(kv: str, kept: int) -> None:
    """Bytes of a token in one of DeepSeek-V3.2's 61 layers: FlashMLA's latent, and the indexer's key with its scale."""
    assert kv_bytes_per_sequence(find_model("deepseek-v3.2"), kv, 1000) == 61 * 1000 * kept


def test_selected_tokens_are_all_that_a_decoded_token_reads() -> None:
    """DeepSeek-V3.2 keeps a little more than DeepSeek-V3, and reads and reckons far less in a long context."""
    every, selected = (Work.of([find_model(name)]) for name in ("deepseek-v3", "deepseek-v3.2"))
    short, far = np.full(1, 1000.0), np.full(1, 64000.0)
    assert every.kv_elements(far) < selected.kv_elements(far) < 1.3 * every.kv_elements(far)
    assert selected.kv_read(short) == selected.kv_elements(short)
    assert selected.kv_read(far) < every.kv_read(far) / 3
    assert selected.kv_read(far) > 61 * 2048 * 576


def test_a_burst_has_no_more_in_flight_than_it_sends() -> None:
    """Four requests at once decode as four, more of them faster together; a queue without end fills the server."""
    cells = ("all 4 at once", "all 400 at once", "max")
    cases = [case(model="Llama-3.1-8B", batch_or_concurrency=cell) for cell in cells]
    assert [one.regime for one in cases] == [Regime.QUEUED] * 3
    part = Observations.of(cases).parts[0]
    assert part.batch.tolist() == [4.0, 400.0, np.inf]
    four, many, full = Observations.of(cases).expected(calibration())
    assert 5 * four < many <= full


def test_a_benchmark_that_ends_has_no_more_in_flight_than_it_sends() -> None:
    """TensorRT-LLM's own sends 3,000 requests of some lengths, fewer than eight B200 hold; of others none knows."""
    cells = {"framework": "TensorRT-LLM 1.0", "model": "Qwen3-235B-A22B", "precision": "FP4", "hw_key": "B200"}
    cells |= {"accel_count": "8", "tp": "8", "batch_or_concurrency": "max (infinite rate)", "osl": "2048"}
    ending, endless = case(**cells, isl="128"), case(**cells, isl="129")
    assert [one.sent for one in (ending, endless)] == [3000, np.inf]
    few, more = Observations.of([ending, endless]).expected(calibration())
    assert few < 0.99 * more


def test_ranks_that_deal_sequences_cache_each_once_and_read_more_weights() -> None:
    """Qwen3-235B caches four heads: eight ranks that share its sequences keep each twice, ranks that deal do not."""
    cells = {"framework": "TensorRT-LLM 1.0", "model": "Qwen3-235B-A22B", "precision": "FP8", "hw_key": "H200-SXM"}
    cells |= {"accel_count": "8", "tp": "8"}
    load = Observations.of([case(**cells, batch_or_concurrency=open_) for open_ in ("max", "8")])
    one, far = np.ones(1), np.full(1, 4096.0)
    queued, loop = (
        Bench(part.work, part.machine, calibration().parameters([who]), SHARPNESS)
        for part, who in zip(sorted(load.parts, key=lambda part: part.rows[0]), load.subjects, strict=True)
    )
    shared = replace(queued, machine=replace(queued.machine, dealt=one))
    assert (queued.machine.dealt, loop.machine.dealt) == (8, 1)
    assert (queued.parts(), shared.parts()) == (8, 4)
    assert capacity(queued, far) > 1.5 * capacity(shared, far)
    assert queued.step(one, one) > shared.step(one, one)
    assert queued.step(1000 * one, far) < shared.step(1000 * one, far)


def test_clients_in_step_hear_later_and_then_faster() -> None:
    """What half of the others' prompts delay is the first token where clients are in step, the later ones elsewhere."""
    found = {}
    for cell in ("64", "64 in step"):
        metrics = ("ttft_p50", "ttft_p99", "tpot_p50", "tpot_p99", "output_throughput_total")
        cases = [case(**SMALL, osl="128", batch_or_concurrency=cell, metric=metric) for metric in metrics]
        found[cell] = dict(zip(metrics, Observations.of(cases).expected(calibration()), strict=True))
    drifted, together = found.values()
    assert together["ttft_p50"] > 1.5 * drifted["ttft_p50"]
    assert together["tpot_p50"] < drifted["tpot_p50"] <= drifted["tpot_p99"]
    assert together["ttft_p99"] == pytest.approx(drifted["ttft_p99"])
    assert case(batch_or_concurrency="64 in step").regime is Regime.STEP


@pytest.mark.parametrize(
    "cell", ["2 req/s", "2.0 requests per second", "rate 2 rps", "2 QPS", "QPS=2", "request rate: 2"]
)
def test_a_stated_rate_is_served_while_the_server_keeps_up(cell: str) -> None:
    """Two requests a second are 512 tokens a second, not two open requests; a flood is what the server can do."""
    slow, quick = (case(**SMALL, batch_or_concurrency=text) for text in (cell, "900 req/s"))
    assert (slow.regime, slow.batch) == (Regime.RATE, 2.0)
    served, flooded = Observations.of([slow, quick]).expected(calibration())
    assert served == pytest.approx(2 * 256)
    assert served < flooded < 900 * 256
    first = [case(**SMALL, metric="ttft_p50", batch_or_concurrency=f"{rate} req/s") for rate in (0.1, 2, 6)]
    assert np.all(np.diff(Observations.of(first).expected(calibration())) > 0)


def test_of_runs_that_contradict_the_one_goes_that_more_others_contradict() -> None:
    """A load test of 512 that took less per token than 16 did is out with its first token; the ladder below stays."""
    ladder = [run("tpot", i, 2**i, 4.0 + 2.0 * i) for i in range(2, 7)]
    odd = [run("tpot", 9, 512, 5.0), run("ttft", 9, 512, 20000.0)]
    assert {row.id for row in consistent([*ladder, *odd])} == {row.id for row in ladder}


def test_of_two_runs_that_contradict_the_slower_goes() -> None:
    """A stall is likelier than a run that was too fast."""
    rows = [run("tpot", 1, 8, 20.0), run("tpot", 2, 16, 10.0)]
    assert [row.id for row in consistent(rows)] == ["tpot2"]


def test_every_file_of_rows_is_read() -> None:
    """The fit reads every row but for the few that their README names as anomalies, and none of them twice."""
    written = sum(len((REFERENCE / name).read_text(encoding="utf-8").splitlines()) - 1 for name in FILES)
    rows = load(*FILES)
    assert len({row.id for row in rows}) == len(rows)
    assert 0.98 * written < len(rows) <= written


def test_blackwell_multiplies_in_four_bits_what_hopper_unpacks() -> None:
    """gpt-oss-120b steps of 64 on measured kernels: one B200 takes at most 12 ms, published are 9.6.

    Where the optional database is not installed, nothing is known of either.
    """
    cells = {"model": "gpt-oss-120b", "precision": "MXFP4", "framework": "TensorRT-LLM 1.1", "metric": "tpot"}
    found = kernels_of([case(**cells, hw_key=key) for key in ("B200", "H200-SXM")])
    fast, slow = found.step(np.array([64.0, 64.0])) * 1e3
    assert fast < 12 < slow if available() else np.isnan([fast, slow]).all()
