"""Predicted speeds behave as machines do, and published rows are predicted or skipped with a reason."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cli.predict import predict
from planners.catalog import find_hardware, find_model
from planners.performance.names import accelerator_of
from planners.performance.precisions import formats_of
from planners.performance.sources import Layout, speeds
from planners.performance.steps import step_functions
from schemas.error import AgentError
from schemas.evidence import Evidence

REFERENCE = Path(__file__).parents[2] / "benchmarks" / "reference"


def layout(hardware: str, engine: str = "vllm", weight: str = "FP8", **arrays: list[int]) -> Layout:
    """A layout with the given arrays, ones elsewhere."""
    size = max((len(values) for values in arrays.values()), default=1)
    rest = {"tp": 1, "pp": 1, "batch": 1, "batched_tokens": 8192, "threads": 1}
    filled = {name: np.array(arrays.get(name, [default] * size)) for name, default in rest.items()}
    return Layout(engine, find_hardware(hardware)[0].accelerator, weight, "FP16", 1024, 256, **filled)


def test_more_tensor_parallelism_shortens_both_times() -> None:
    """Doubling the accelerators of a 70B model lowers TTFT and TPOT."""
    found = speeds(find_model("llama-3.1-70b"), layout("H100-SXM", tp=[2, 4, 8], batch=[8, 8, 8]))
    assert np.all(np.diff(found.ttft_ms) < 0)
    assert np.all(np.diff(found.tpot_ms) < 0)


def test_throughput_and_tpot_grow_with_the_batch() -> None:
    """More sequences at once: more tokens a second, each of them later."""
    found = speeds(find_model("llama-3.1-8b"), layout("H100-SXM", batch=[1, 4, 16, 64]))
    assert np.all(np.diff(found.output_tok_s) > 0)
    assert np.all(np.diff(found.tpot_ms) > 0)


def test_prompts_of_newcomers_cross_the_links_too() -> None:
    """What others' prompts add to a time per token grows where links are slower, not the decoding step alone."""
    fast = layout("H100-SXM", tp=[8], batch=[64])
    slow = replace(fast, accelerator=fast.accelerator.model_copy(update={"link_gbs": fast.accelerator.link_gbs / 2}))
    added = []
    for one in (fast, slow):
        found = speeds(find_model("qwen3-32b"), one)
        added.append(found.tpot_ms[0] / 1e3 - found.bench.step(np.array([64.0]), np.array([1024 + 128.0]))[0])
    assert 0 < added[0] < 0.9 * added[1]


def test_a_single_stream_is_bound_by_memory() -> None:
    """One sequence of an 8B model in 16 bits decodes no faster than the memory streams its weights."""
    model, device = find_model("llama-3.1-8b"), find_hardware("RTX4090")[0].accelerator
    found = speeds(model, layout("RTX4090", "llama.cpp", "F16"))
    fastest = device.bandwidth_gbs * 1e9 / (model.parameters * 2)
    assert 0.5 * fastest < 1e3 / found.tpot_ms[0] < fastest


def test_pipelines_do_not_shorten_a_single_stream() -> None:
    """A layer split over four cards decodes one sequence no faster than one card."""
    found = speeds(find_model("llama-3-8b"), layout("RTX4090", "llama.cpp", "Q4_K_M", pp=[1, 4]))
    assert found.tpot_ms[1] >= found.tpot_ms[0]


def test_a_known_measurement_is_met() -> None:
    """Llama-2-70B FP8 on one H200 at batch 1: published 43 to 46 tok/s with TensorRT-LLM (modelopt 0.21)."""
    found = speeds(find_model("llama-3.1-70b"), layout("H200-SXM", "tensorrt-llm"))
    assert 35 < 1e3 / found.tpot_ms[0] < 60


def test_intervals_and_evidence_are_stated() -> None:
    """Every prediction says that it is calibrated and how far it may be off."""
    found = speeds(find_model("llama-3.1-8b"), layout("H100-SXM"))
    assert found.evidence is Evidence.CALIBRATED
    assert 0 < found.tpot_log_sd[0] < 1


def test_unknown_formats_are_refused_by_name() -> None:
    """A format nobody knows names the known ones."""
    with pytest.raises(ValueError, match="Q4_K_M"):
        speeds(find_model("llama-3.1-8b"), layout("H100-SXM", weight="INT3"))


def test_step_tables_follow_the_physics() -> None:
    """The simulation's step times agree with the speeds at the same batch."""
    model, one = find_model("llama-3.1-8b"), layout("H100-SXM", batch=[16])
    prefill, decode = step_functions(model, one)
    assert decode(16, 1024 + 128) * 1e3 < speeds(model, one).tpot_ms[0]
    assert prefill(4096) > prefill(1024) > prefill(1)
    assert decode(16, 1024) > decode(16, 0)


def test_published_rows_are_predicted_without_their_values(tmp_path: Path) -> None:
    """Every reference row with known model and hardware is predicted; the value cell is not looked at."""
    with (REFERENCE / "perf_reference.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    blind = tmp_path / "rows.csv"
    with blind.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"value": ""} for row in rows)
    done, skipped = predict(blind, tmp_path / "out.csv", silicon=False)
    assert (done, skipped) == (len(rows) - 2, 2)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        out = list(csv.DictReader(file))
    assert all(row["skipped"] for row in out if not row["predicted"])
    assert all(float(row["low"]) < float(row["predicted"]) < float(row["high"]) for row in out if row["predicted"])


def test_a_model_known_by_its_size_alone_is_assumed(tmp_path: Path) -> None:
    """An unknown name with a size is predicted as assumed; one without is skipped with the nearest names."""
    source = tmp_path / "rows.csv"
    head = "framework,hw_key,accel_count,model,precision,isl,osl,batch_or_concurrency,tp,metric"
    tail = "FP16,128,128,1,1,decode_tok_s_bs1"
    source.write_text(f"{head}\nvLLM 0.9,H100-SXM,1,Acme-14B,{tail}\nvLLM 0.9,H100-SXM,1,Acme,{tail}\n")
    assert predict(source, tmp_path / "out.csv", silicon=False) == (1, 1)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        known, unknown = csv.DictReader(file)
    assert known["evidence"] == "assumed"
    assert "no model named" in unknown["skipped"]


def test_an_unknown_precision_is_taken_by_its_bits(tmp_path: Path) -> None:
    """Every row with known model and hardware has a prediction, whatever its precision is called."""
    source = tmp_path / "rows.csv"
    head = "framework,hw_key,accel_count,model,precision,isl,osl,batch_or_concurrency,tp,metric"
    tail = "128,128,1,1,decode_tok_s_bs1"
    names = ("EXL2 2.5bpw", "EXL2 6.0bpw", "something")
    source.write_text("\n".join([head, *(f"exllamav2,RTX4090,1,Llama-2-7B,{name},{tail}" for name in names)]) + "\n")
    assert predict(source, tmp_path / "out.csv", silicon=False) == (3, 0)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        small, large, half = (float(row["predicted"]) for row in csv.DictReader(file))
    assert small > large > half


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100-SXM-80GB"),
        ("NVIDIA H100 80GB HBM3", "H100-SXM"),
        ("AMD Instinct MI300X OAM", "MI300X"),
        ("NVIDIA GeForce RTX 4090 24GB", "RTX4090"),
        ("Intel Xeon Platinum 8480+", "Xeon-SPR"),
    ],
)
def test_accelerators_are_found_as_publications_name_them(text: str, key: str) -> None:
    """Memory, form factor and brand around a name do not hide the part."""
    assert accelerator_of("", text).key == key


@pytest.mark.parametrize(
    ("engine", "text", "weight"),
    [
        ("vllm", "w4a16", "GPTQ-INT4"),
        ("vllm", "AWQ 4bit", "AWQ-INT4"),
        ("vllm", "FP8 E4M3", "FP8"),
        ("vllm", "W8A8 INT8", "W8A8"),
        ("vllm", "bfloat16", "BF16"),
        ("transformers", "4-bit", "NF4"),
        ("llama.cpp", "4-bit", "Q4_K_M"),
        ("llama.cpp", "q5_k - medium", "Q5_K_M"),
    ],
)
def test_precisions_are_read_as_publications_write_them(engine: str, text: str, weight: str) -> None:
    """The same four bits are another format in another engine."""
    device = find_hardware("H100-SXM")[0].accelerator
    assert formats_of(text, engine, device, "Llama-3.1-8B")[0] == weight


def test_a_row_without_an_accelerator_is_refused() -> None:
    """An empty cell is not taken for any accelerator."""
    with pytest.raises(AgentError, match="names no accelerator"):
        accelerator_of("", " ")


def test_a_file_without_the_columns_is_refused(tmp_path: Path) -> None:
    """A CSV that is something else names the missing columns."""
    source = tmp_path / "rows.csv"
    source.write_text("a,b\n1,2\n")
    with pytest.raises(AgentError, match="lacks the columns"):
        predict(source, tmp_path / "out.csv")
