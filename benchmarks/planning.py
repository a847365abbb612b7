"""How large the searched space is and how fast: plans warm and cold, memory, and aiconfigurator-core beside it.

Run: `python benchmarks/planning.py`. The extra `silicon` adds the comparison: the same model, one system, one engine.
"""

import importlib
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping

from planners.catalog import find_hardware, find_model, load_prices
from planners.plan import Facts, plan
from schemas.command import OptimizeInference

REPEATS = 7
README = {
    "cmd": "OPTIMIZE_INFERENCE",
    "model": "llama-3-70b",
    "current_perf": {"latency_p95": 2500, "throughput": 10},
    "targets": {"latency_p95": 500, "throughput": 50},
    "constraints": {"max_quality_loss": 0.02, "hardware": "4xA100-80GB", "budget_monthly": 5000},
}
EASIER = {**README, "targets": {"latency_p95": 8000, "throughput": 3}}
ANY = {**EASIER, "constraints": {"hardware": "any", "budget_monthly": 5000}}
MAX_TP = 4


def facts_of(request: OptimizeInference) -> Facts:
    """What the plan stands on."""
    return Facts(find_model(request.model), find_hardware(request.constraints.hardware), None, load_prices())


def warm(name: str, fields: Mapping[str, object]) -> None:
    """Median seconds of a plan in a process that has made one."""
    request = OptimizeInference.model_validate(fields)
    facts = facts_of(request)
    found = plan(request, facts)
    seconds, busy = [], []
    for _ in range(REPEATS):
        begun, used = time.perf_counter(), time.process_time()
        plan(request, facts)
        seconds.append(time.perf_counter() - begun)
        busy.append(time.process_time() - used)
    answer = "feasible" if found.feasible else "infeasible"
    print(
        f"{name:24} {found.considered:>9,} candidates  {statistics.median(seconds):6.3f} s warm "
        f"({min(seconds):.3f} to {max(seconds):.3f}), {statistics.median(busy):.3f} s of CPU  {answer}"
    )


def cold() -> None:
    """Seconds and peak memory of a whole process that makes one plan."""
    code = (
        "import json,resource,sys;"
        "from planners.catalog import find_hardware,find_model,load_prices;"
        "from planners.plan import Facts,plan;"
        "from schemas.command import OptimizeInference;"
        "r=OptimizeInference.model_validate(json.loads(sys.argv[1]));"
        "plan(r,Facts(find_model(r.model),find_hardware(r.constraints.hardware),None,load_prices()));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024)"
    )
    seconds, megabytes = [], 0.0
    for _ in range(3):
        begun = time.perf_counter()
        done = subprocess.run(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-c", code, json.dumps(README)], check=True, capture_output=True, text=True
        )
        seconds.append(time.perf_counter() - begun)
        megabytes = float(done.stdout)
    print(f"{'whole process, cold':24} {statistics.median(seconds):.3f} s, {megabytes:.0f} MB at its peak")


def beside_aiconfigurator() -> None:
    """One system and one engine by the kernel database: every TP and a handful of batches."""
    if importlib.util.find_spec("aiconfigurator_core") is None:
        print("aiconfigurator-core      not installed: pip install 'inferwright[silicon]'")
        return
    sdk = importlib.import_module("aiconfigurator_core.sdk")
    begun, count, tensor_parallel = time.perf_counter(), 0, 1
    while tensor_parallel <= MAX_TP:
        handle = sdk.EngineHandle.compile(
            "meta-llama/Meta-Llama-3.1-70B", "a100_sxm", "trtllm", tp_size=tensor_parallel
        )
        for batch in (1, 2, 4, 8, 16, 32, 64, 128):
            handle.run_static(batch_size=batch, isl=192, osl=48)
            count += 1
        tensor_parallel *= 2
    print(f"{'aiconfigurator-core':24} {count:>9,} candidates  {time.perf_counter() - begun:6.3f} s")


if __name__ == "__main__":
    warm("README's example", README)
    warm("an easier request", EASIER)
    warm("any hardware", ANY)
    cold()
    print(f"{'this process':24} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at its peak")
    beside_aiconfigurator()
