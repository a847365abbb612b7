"""Measures read bandwidth and fp32 matrix throughput with the threads that OPENBLAS_NUM_THREADS allows.

Prints one JSON line: {"bandwidth_gbs": …, "gflops": …}; GB/s of a dot product over arrays far larger than any cache,
GFLOP/s of a matrix product that fits the caches. The best of several rounds: a shared machine only ever slows one down.
"""

import json
import sys
import time

import numpy as np

ELEMENTS = 24_000_000
"""Two arrays of 96 MB: beyond the last-level cache of a host that this can say something about."""
SIDE = 768
ROUNDS = 4


def best_seconds(work: "np.ufunc | object") -> float:
    """The shortest of a few timed rounds, after one that warms up."""
    times = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def main() -> None:
    """Measure and print."""
    left, right = np.ones(ELEMENTS, np.float32), np.ones(ELEMENTS, np.float32)
    square = np.ones((SIDE, SIDE), np.float32)
    bandwidth = 2 * left.nbytes / best_seconds(lambda: np.dot(left, right)) / 1e9
    gflops = 2 * SIDE**3 / best_seconds(lambda: square @ square) / 1e9
    json.dump({"bandwidth_gbs": round(bandwidth, 2), "gflops": round(gflops, 1)}, sys.stdout)


if __name__ == "__main__":
    main()
