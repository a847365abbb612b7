"""The simulation of arrivals against MLPerf 4.1 Server rows: percentiles at the published rate, a line each metric.

    python -m benchmarks.arrivals

Twice: with step times as predicted, and with step times scaled so that the saturated throughput is the system's own
Offline figure, which leaves only what the simulation adds: queueing and batching.
"""

import csv
import re
from collections import defaultdict

import numpy as np

from benchmarks.rows import REFERENCE
from planners.arrivals import Server, closed, poisson, simulate
from planners.catalog import find_hardware, find_model
from planners.performance.published import Condition, condition
from planners.performance.sources import Layout
from planners.performance.steps import step_functions

METRICS = ("ttft_p50", "ttft_p99", "tpot_p50", "tpot_p99")
SEQUENCES, TOKENS, REQUESTS, SEED = 2048, 2048, 6000, 1
VARIED = 0.8
"""Half the range of lengths over their mean: OpenOrca's answers run from a few tokens to a thousand."""
HTTP_S = 0.01


def systems() -> dict[tuple[str, ...], dict[str, tuple[float, Condition]]]:
    """Every MLPerf system with its metrics and their conditions."""
    with (REFERENCE / "perf_reference.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["group"].startswith("mlperf") and "gptj" not in row["model"]]
    found: dict[tuple[str, ...], dict[str, tuple[float, Condition]]] = defaultdict(dict)
    for row in rows:
        system = re.search(r"submitter=(\S+) system=(\S+);", row["note"])
        key = (row["model"], row["hw_key"], *(system.groups() if system else ()))
        case = condition(row, find_model(row["model"]), find_hardware(row["hw_key"])[0].accelerator)
        found[key][row["metric"]] = (float(row["value"]), case)
    return found


def errors(rows: dict[str, tuple[float, Condition]], *, scaled: bool) -> dict[str, float]:
    """Logarithms of simulated over published for one system."""
    published, case = rows["output_throughput_total_server"]
    one = np.ones(1, dtype=np.int64)
    layout = Layout(
        engine=case.engine,
        accelerator=case.accelerator,
        weight_format=case.weight_format,
        kv_format=case.kv_format,
        input_tokens=round(case.length),
        output_tokens=round(case.output),
        tp=one * case.tp,
        pp=one * case.pp,
        batch=one * SEQUENCES,
        batched_tokens=one * TOKENS,
        threads=one,
    )
    prefill, decode = step_functions(case.model, layout)
    server = Server(SEQUENCES, TOKENS, 1e9, admission_s=HTTP_S)
    lengths = (round(case.length), round(case.output))
    factor = 1.0
    if scaled:
        full = simulate(server, prefill, decode, closed(SEQUENCES, 2 * SEQUENCES, *lengths), open_requests=SEQUENCES)
        factor = full.output_tok_s * case.replicas / rows["output_throughput_total_offline"][0]
    rate = published / case.replicas / case.output
    found = simulate(
        server,
        lambda tokens: factor * prefill(tokens),
        lambda sequences, context: factor * decode(sequences, context),
        poisson(rate, REQUESTS, *lengths, seed=SEED, varied=VARIED),
        warmup=0.5,
    )
    simulated = (found.ttft.p50, found.ttft.p99, found.tpot.p50, found.tpot.p99)
    pairs = zip(METRICS, simulated, strict=True)
    return {name: float(np.log(value / rows[f"{name}_server"][0])) for name, value in pairs}


def main() -> None:
    """Print a line for each metric, as predicted and scaled."""
    complete = [rows for rows in systems().values() if len(rows) == len(METRICS) + 2]
    for scaled in (False, True):
        found = [errors(rows, scaled=scaled) for rows in complete]
        for name in METRICS:
            logs = np.array([one[name] for one in found])
            sizes = np.abs(np.expm1(logs))
            print(
                f"{'own Offline throughput' if scaled else 'as predicted':24s} {name} n={len(logs)} "
                f"median {np.median(sizes):.0%} P90 {np.quantile(sizes, 0.9):.0%} bias {np.median(logs):+.2f}"
            )


if __name__ == "__main__":
    main()
