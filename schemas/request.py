"""Commands for one part of the loop each: measure, compress, load-test, score, price, compare."""

from typing import Literal

from pydantic import Field

from schemas.command import Command, Constraints, Name, Workload


class BaselineAssessment(Command):
    """Measure a model as it is served today."""

    cmd: Literal["BASELINE_ASSESSMENT"]
    model: str = Name
    workload: Workload = Workload()


class QuantizeModel(Command):
    """Compress a model by a named method and keep the result."""

    cmd: Literal["QUANTIZE_MODEL"]
    model: str = Name
    method: str = Field(min_length=1, max_length=64)
    constraints: Constraints = Constraints()


class BenchmarkInference(Command):
    """Load-test a model under a workload."""

    cmd: Literal["BENCHMARK_INFERENCE"]
    model: str = Name
    engine: str | None = Field(default=None, max_length=64)
    workload: Workload = Workload()


class EvaluateQuality(Command):
    """Score a candidate against its baseline and let the gate decide."""

    cmd: Literal["EVALUATE_QUALITY"]
    model: str = Name
    candidate: str = Name
    constraints: Constraints = Constraints()


class CostAnalysis(Command):
    """Price the ways to serve a model."""

    cmd: Literal["COST_ANALYSIS"]
    model: str = Name
    constraints: Constraints = Constraints()
    workload: Workload = Workload()


class CompareStrategies(Command):
    """Set strategies side by side under one workload."""

    cmd: Literal["COMPARE_STRATEGIES"]
    model: str = Name
    strategies: tuple[str, ...] = Field(default=(), max_length=16)
    constraints: Constraints = Constraints()
    workload: Workload = Workload()
