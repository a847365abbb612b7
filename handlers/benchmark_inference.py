"""BENCHMARK_INFERENCE in; its executor is not here yet, and the answer says so."""

from handlers.registry import Handler
from schemas.request import BenchmarkInference

HANDLER = Handler(command=BenchmarkInference, summary="Load-tests a model under a workload.")
