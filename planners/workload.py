"""The request and its evidence about the traffic in, the workload to plan for and what was assumed out."""

import math
from dataclasses import dataclass

import numpy as np

from planners.figures import counted
from planners.performance.around import around
from planners.performance.sources import Layout, speeds
from schemas.command import OptimizeInference
from schemas.correction import OperatingPoint
from schemas.error import AgentError, ErrorCode
from schemas.hardware import Accelerator, AcceleratorKind, Pool
from schemas.model import ModelFacts
from schemas.plan import Assumption

_DEFAULT_INPUT = 512
_DEFAULT_OUTPUT = 128
_HOST_INPUT, _HOST_OUTPUT = 128, 64
_HOST_CONCURRENCY, _CONCURRENCY = 4, 16
_INPUT_PER_OUTPUT = 4
_P95_OVER_MEAN = 1.3


@dataclass(frozen=True)
class Traffic:
    """What arrives. Tokens per request; `rate` in requests per second, 0 where a fixed number is always open."""

    input_tokens: int
    output_tokens: int
    rate: float
    concurrency: int
    shared_prefix_tokens: int
    batch_job: bool

    @property
    def tokens(self) -> int:
        """Prompt and answer of one request."""
        return self.input_tokens + self.output_tokens

    @property
    def point(self) -> OperatingPoint:
        """Where measurements of this traffic lie."""
        return OperatingPoint(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            request_rate=self.rate,
            concurrency=0 if self.rate else self.concurrency,
        )


_NO_PREFIX = (
    "workload.shared_prefix_tokens is absent; prefix caching is off so that measurements compare with predictions: "
    "leave it on in production, where it costs nothing"
)


def traffic_of(
    request: OptimizeInference, model: ModelFacts, pools: tuple[Pool, ...], *, host: bool
) -> tuple[Traffic, tuple[Assumption, ...]]:
    """The traffic that the request states, completed from `current_perf` where that says more, else assumed.

    Raises:
        AgentError: `invalid_command` where a request would not fit into the model's context.
    """
    asked = request.workload
    assumed: list[Assumption] = []
    input_tokens, output_tokens = _lengths(request, model, pools, assumed, host=host)
    if input_tokens + output_tokens > model.context:
        raise AgentError(
            ErrorCode.INVALID_COMMAND,
            f"workload: {input_tokens} tokens in and {output_tokens} out are more than the {model.context} tokens of "
            f"context that {model.name} has",
        )
    rate = _rate(request, assumed)
    if not asked.shared_prefix_tokens and not host:
        assumed.append(Assumption(name="shared prefix", value="none", why=_NO_PREFIX))
    concurrency = asked.concurrency
    if rate == 0.0 and concurrency is None:
        concurrency = _HOST_CONCURRENCY if host else _CONCURRENCY
        assumed.append(
            Assumption(
                name="concurrency",
                value=f"{counted(concurrency, 'request')} always open",
                why="no rate or target given",
            )
        )
    return (
        Traffic(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            rate=rate,
            concurrency=concurrency or 1,
            shared_prefix_tokens=min(asked.shared_prefix_tokens, input_tokens - 1),
            batch_job=asked.batch_job,
        ),
        tuple(assumed),
    )


def _rate(request: OptimizeInference, assumed: list[Assumption]) -> float:
    """Requests per second on average; 0 where a fixed number is always open."""
    asked = request.workload
    if asked.batch_job:
        return 0.0
    if asked.request_rate:
        return asked.request_rate
    if asked.concurrency is not None:
        return 0.0
    for name, rate in (("targets", request.targets.throughput), ("current_perf", request.current_perf.throughput)):
        if rate:
            assumed.append(
                Assumption(
                    name="arrivals",
                    value=f"Poisson, {counted(rate, 'request')} per second on average",
                    why=f"workload.request_rate is absent; {name}.throughput is taken for it",
                )
            )
            return rate
    return 0.0


def _lengths(
    request: OptimizeInference,
    model: ModelFacts,
    pools: tuple[Pool, ...],
    assumed: list[Assumption],
    *,
    host: bool,
) -> tuple[int, int]:
    """Prompt and answer in tokens, within the model's context."""
    asked = request.workload
    given_input, given_output = asked.input_tokens, asked.output_tokens
    if given_input is None and given_output is None:
        inferred = None if host else _from_latency(request, model, pools)
        if inferred is not None:
            value = f"{inferred[0]} in, {inferred[1]} out"
            assumed.append(Assumption(name="tokens per request", value=value, why=_INFERRED))
            return inferred
    default_input, default_output = (_HOST_INPUT, _HOST_OUTPUT) if host else (_DEFAULT_INPUT, _DEFAULT_OUTPUT)
    input_tokens = given_input or min(default_input, model.context // 2)
    output_tokens = given_output or min(default_output, model.context // 4)
    if given_input is None or given_output is None:
        value = f"{input_tokens} in, {output_tokens} out"
        assumed.append(Assumption(name="tokens per request", value=value, why="the request does not say; a short chat"))
    return input_tokens, output_tokens


_INFERRED = (
    "current_perf.latency_p95 is what the untouched model is predicted to take for answers of this length "
    f"with prompts {_INPUT_PER_OUTPUT} times as long; state workload.input_tokens and output_tokens to replace this"
)


def _from_latency(request: OptimizeInference, model: ModelFacts, pools: tuple[Pool, ...]) -> tuple[int, int] | None:
    """Lengths at which the untouched model would show today's latency, on the first GPU pool large enough for it."""
    current = request.current_perf
    latency = current.latency_p95 or (current.latency_p50 or 0.0) * _P95_OVER_MEAN
    found = next((pool for pool in pools if _tensor_parallel(pool, model)), None)
    if not latency or found is None:
        return None
    outputs = np.array([8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024])
    # How many are served at once today follows from today's rate and latency (Little's law).
    batch = max(1, math.ceil((current.throughput or 0.0) * latency / 1e3 / _P95_OVER_MEAN))
    times = np.array([_one_request_ms(model, found.accelerator, found.count, batch, int(out)) for out in outputs])
    fitting = int(np.argmin(np.abs(np.log(times * _P95_OVER_MEAN / latency))))
    output = min(int(outputs[fitting]), model.context // (1 + _INPUT_PER_OUTPUT))
    return (_INPUT_PER_OUTPUT * output, output) if output else None


def _tensor_parallel(pool: Pool, model: ModelFacts) -> bool:
    fits = pool.count * pool.accelerator.memory_gb * 1e9 > 2.2 * model.parameters
    return pool.accelerator.kind is AcceleratorKind.GPU and fits


def _one_request_ms(model: ModelFacts, accelerator: Accelerator, count: int, batch: int, output: int) -> float:
    one = np.ones(1, dtype=np.int64)
    tp = max(size for size in (1, 2, 4, 8) if size <= count and model.heads % size == 0)
    layout = Layout(
        engine="vllm",
        accelerator=accelerator,
        weight_format="BF16",
        kv_format="FP16",
        input_tokens=_INPUT_PER_OUTPUT * output,
        output_tokens=output,
        tp=one * tp,
        pp=one,
        batch=one * batch,
        batched_tokens=one * 8192,
        threads=one,
    )
    found, near = speeds(model, layout), around(model, layout)
    first, later = found.ttft_ms[0] * near.first.slower[0, 0], found.tpot_ms[0] * near.step.slower[0, 0]
    return float(first + (output - 1) * later)
