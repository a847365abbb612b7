"""A finalist of the search in, its latencies under simulated arrivals out, beside the closed forms it was chosen by."""

import numpy as np

from planners.arrivals import Server, Simulation, poisson, simulate
from planners.candidates import Searched
from planners.figures import plain
from planners.performance.sources import Layout
from planners.performance.steps import step_functions
from planners.support import engines
from schemas.plan import Candidate

REQUESTS = 800
_SEED = 0


def simulated(found: Searched, candidate: Candidate) -> Simulation | None:
    """The engine's batching, iteration by iteration, at one replica's share of the rate; None without a rate."""
    traffic, strategy = found.traffic, candidate.strategy
    if traffic.rate == 0.0 or strategy.speculation != "none":
        return None
    accelerator = next(g.accelerator for g in found.space.groups if g.accelerator.key == strategy.accelerator)
    one = np.ones(1, dtype=np.int64)
    layout = Layout(
        engine=strategy.engine,
        accelerator=accelerator,
        weight_format=strategy.weight_format,
        kv_format=strategy.kv_format,
        input_tokens=traffic.input_tokens,
        output_tokens=traffic.output_tokens,
        tp=one * strategy.tensor_parallel,
        pp=one * strategy.pipeline_parallel,
        batch=one * strategy.max_sequences,
        batched_tokens=one * strategy.batched_tokens,
        threads=one * strategy.threads,
    )
    prefill, decode = step_functions(found.model, layout)
    read = traffic.input_tokens - (traffic.shared_prefix_tokens if strategy.prefix_caching else 0)
    server = Server(
        sequences=strategy.max_sequences,
        tokens=strategy.batched_tokens,
        cache_tokens=float(strategy.max_sequences * traffic.tokens),
        chunked=strategy.chunked_prefill,
        joins=engines()[strategy.engine].joins,
    )
    arrivals = poisson(traffic.rate / strategy.replicas, REQUESTS, max(1, read), traffic.output_tokens, seed=_SEED)
    return simulate(server, prefill, decode, arrivals)


def with_simulation(found: Searched, candidate: Candidate) -> Candidate:
    """The candidate with a sentence on what simulated arrivals saw."""
    seen = simulated(found, candidate)
    if seen is None:
        return candidate
    beyond = [
        limit.name
        for limit in found.judged.limits
        for value in [_percentile(seen, limit.name)]
        if value is not None and value > limit.asked
    ]
    warning = f"; that is beyond {', '.join(beyond)}: measure before relying on it" if beyond else ""
    times = ", ".join(f"p{end} {plain(getattr(seen.latency, f'p{end}'))}" for end in (50, 95, 99))
    sentence = f"{REQUESTS} simulated arrivals see TTFT p95 {plain(seen.ttft.p95)} ms and latency {times} ms{warning}"
    return candidate.model_copy(update={"reasons": (*candidate.reasons, sentence)})


def _percentile(seen: Simulation, name: str) -> float | None:
    """The simulated figure that a limit is about, if it is about a time."""
    metric, _, end = name.partition("_")
    spread = {"latency": seen.latency, "ttft": seen.ttft, "tpot": seen.tpot}.get(metric)
    return None if spread is None else {"p50": spread.p50, "p95": spread.p95, "p99": spread.p99}.get(end)
