"""The closed forms of the wide search agree with arrivals simulated iteration by iteration."""

import numpy as np
import pytest

from planners.arrivals import Server, poisson, simulate
from planners.catalog import find_hardware, find_model, load_prices
from planners.performance.sources import Layout
from planners.performance.steps import step_functions
from planners.plan import Facts
from planners.queueing import Replica, closed_loop
from planners.search import search
from schemas.command import OptimizeInference

CASES = [
    ("llama-3-70b", "4xA100-SXM-80GB", 2.0, 512, 128),
    ("llama-3.1-8b", "2xH100-SXM", 20.0, 600, 120),
    ("llama-3.1-8b", "1xL4", 1.0, 300, 200),
    ("gemma-2-9b", "2xL40S", 4.0, 200, 300),
    ("llama-3.1-8b", "1xXeon-SPR", 0.2, 300, 100, "ctranslate2"),
    ("qwen2.5-7b", "1xEPYC-Genoa", 0.3, 200, 200, "onnxruntime"),
]
"""The last two: engines whose batches nobody joins."""
LAYOUTS = 10


def ratios(model: str, hardware: str, rate: float, prompt: int, answer: int, *engines: str) -> np.ndarray:
    """Simulated over closed-form p50 and p95 of latency for some layouts that keep up."""
    request = OptimizeInference.model_validate(
        {
            "cmd": "OPTIMIZE_INFERENCE",
            "model": model,
            "targets": {"throughput": rate},
            "constraints": {"hardware": hardware, "engines": list(engines)},
            "workload": {"input_tokens": prompt, "output_tokens": answer},
        }
    )
    facts = Facts(find_model(model), find_hardware(hardware), None, load_prices(), silicon=False)
    found, _ = search(request, facts)
    space, latency = found.space, found.judged.latency
    plain = (space.speculation == 0) & ((space.chunked == 1) | ~space.joins[:, 0])
    steady = found.judged.runs & plain[:, None] & (latency.load < 0.8)
    rows = []
    for flat in np.random.default_rng(1).choice(np.flatnonzero(steady.ravel()), LAYOUTS):
        cell, column = divmod(int(flat), space.batches.size)
        group, slots = space.groups[int(space.group[cell])], int(space.batches[column])
        tokens = int(space.batched_tokens[cell])
        one = np.ones(1, dtype=np.int64)
        layout = Layout(
            group.engine,
            group.accelerator,
            group.weight_format,
            group.kv_format,
            prompt,
            answer,
            tp=one * space.tp[cell],
            pp=one * space.pp[cell],
            batch=one * slots,
            batched_tokens=one * tokens,
            threads=one * space.threads[cell],
        )
        arrivals = poisson(rate / int(space.replicas[cell]), 800, prompt, answer, seed=0)
        chunked, joins = bool(space.chunked[cell]), bool(space.joins[cell, 0])
        server = Server(slots, tokens, slots * (prompt + answer), chunked=chunked, joins=joins)
        seen = simulate(server, *step_functions(facts.model, layout), arrivals).latency
        rows.append((seen.p50 / latency.latency_p50[cell, column], seen.p95 / latency.latency_p95[cell, column]))
    return np.array(rows)


@pytest.mark.parametrize("case", CASES, ids=[f"{case[0]} on {case[1]}" for case in CASES])
def test_closed_forms_agree_with_simulated_arrivals(case: tuple[str, str, float, int, int, str]) -> None:
    """In the median over layouts: within a quarter at the median; the 95th percentile errs by half at the most."""
    found = np.median(ratios(*case), axis=0)
    assert 0.75 < found[0] < 1.33
    assert 0.67 < found[1] < 1.5


def test_clients_in_step_wait_for_each_others_prompts() -> None:
    """Eight open, 20 ms for a prompt alone and 10 ms beside others, 5 ms a step, answers of 101 tokens.

    The first token of the median comes after the half of the others, the last of all after everybody's; who waits
    for them at first waits no more later, so that first and later tokens add up to what Little's law says.
    """
    one = np.ones((1, 1))
    replica = Replica(
        batches=np.array([1.0, 8.0]),
        tpot_s=np.array([[0.005, 0.0057]]),
        step_s=np.array([[0.005, 0.005]]),
        tokens_s=np.array([[101 / 0.52, 8 * 101 / 0.6]]),
        prompt_s=one * 0.020,
        busy_s=one * 0.010,
        alone_s=one * 0.012,
        passes=one,
        joins=one.astype(bool),
        output=101,
    )
    seen = closed_loop(replica, one * 8.0)
    assert seen.ttft_p50[0, 1] == pytest.approx(20 + 5 + 3.5 * 10)
    assert seen.ttft_p95[0, 1] == pytest.approx(20 + 5 + 0.95 * 70)
    assert seen.latency_p50[0, 1] == pytest.approx(600)
    assert seen.ttft_p50[0, 1] + 100 * seen.tpot[0, 1] == pytest.approx(600)
    assert seen.tpot_p95[0, 1] == pytest.approx((600 - 25) / 100)
    alone = closed_loop(replica, one)
    assert alone.ttft_p50[0, 0] == pytest.approx(20)
    assert alone.ttft_p50[0, 0] + 100 * alone.tpot[0, 0] == pytest.approx(520)
    queued = closed_loop(replica, one * 16.0)
    assert queued.ttft_p50[0, 1] == pytest.approx(60 + 600)
