"""The untouched model on the same hardware: request and facts in, the candidate to beat and its bottleneck out."""

from dataclasses import replace

import numpy as np

from planners.candidates import Searched, candidate_at
from planners.choose import score
from planners.evaluate import serve
from planners.figures import counted
from planners.judge import judge
from planners.performance.formats import weight_format
from planners.performance.work import Work
from planners.prices import PriceTable
from planners.search import again
from planners.sizes import kv_bytes_per_sequence, weight_bytes
from planners.space import Space, build
from planners.support import engines, wanted_engines
from schemas.command import OptimizeInference
from schemas.error import AgentError, ErrorCode
from schemas.hardware import Accelerator, AcceleratorKind, Pool
from schemas.model import ModelFacts
from schemas.plan import Candidate

_GROWTH = (1, 2, 4, 8, 16)
_BUSY = 0.8
_WHOLE = ("BF16", "F16", "FP8", "MXFP4")


def baseline_of(
    request: OptimizeInference, searched: Searched, pools: tuple[Pool, ...], prices: PriceTable
) -> Candidate:
    """The best-run untouched model: what the plan has to beat.

    Where the pools cannot hold it, more of the same accelerator are taken and the candidate's reasons say so.

    Raises:
        AgentError: `infeasible` where no number of these accelerators that an engine can join holds the model.
    """
    for factor in _GROWTH:
        grown = tuple(pool.model_copy(update={"count": pool.count * factor}) for pool in pools)
        if factor > 1 and any(pool.accelerator.key == "host" or pool.accelerator.per_node == 1 for pool in pools):
            break
        found = _search(request, searched, grown, prices, whole=True)
        if found is not None:
            return (
                found if factor == 1 else _noted(found, f"the pool does not hold it: {factor} times as many are taken")
            )
    found = _search(request, searched, pools, prices, whole=False)
    if found is not None:
        return _noted(found, "16-bit weights do not fit: the widest format that does stands in for the untouched model")
    raise AgentError(
        ErrorCode.INFEASIBLE,
        f"{searched.model.name} fits in no known format on {', '.join(pool.accelerator.name for pool in pools[:4])}",
    )


def _noted(candidate: Candidate, reason: str) -> Candidate:
    return candidate.model_copy(update={"reasons": (*candidate.reasons, reason)})


def _search(
    request: OptimizeInference, searched: Searched, pools: tuple[Pool, ...], prices: PriceTable, *, whole: bool
) -> Candidate | None:
    """The best candidate among untouched weights, or among the widest that fit."""
    host = any(pool.accelerator.key == "host" for pool in pools)
    asked = request.current_perf.engine
    named = (asked,) if asked and asked.lower() in engines() else request.constraints.engines
    # What is untouched on this host is a GGUF file, whichever engines may be chosen.
    wanted, _ = wanted_engines(() if host else named, host=host)
    space = build(searched.model, pools, wanted, searched.traffic, searched.servable)
    keep = [
        not group.importance_matrix
        and group.kv_format == "FP16"
        and (not whole or group.weight_format == searched.model.native_format or group.weight_format in _WHOLE[:2])
        for group in space.groups
    ]
    kept = np.array(keep, dtype=np.bool_)[space.group] & (space.speculation == 0) & (space.prefix == 0)
    kept &= (space.scheduling == 0) & (space.threads == space.threads.max(initial=0))
    space = space.only(kept)
    served = serve(searched.model, space, searched.traffic, silicon=searched.silicon)
    judged = judge(request, searched.traffic, space, served, prices=prices, corrections=searched.corrections)
    scores = score(space, judged, searched.traffic)
    if not whole:  # the widest weights first
        bits = np.array([weight_format(group.weight_format).bits for group in space.groups])
        scores = scores - 1e6 * bits[space.group][:, None]
    fits = judged.runs
    if not fits.any():  # none keeps up: the one that comes nearest
        fits, scores = served.footprint.fits, -judged.latency.capacity
    if not fits.any():
        return None
    best = int(np.flatnonzero(fits)[np.argmin(scores[fits])])
    found = replace(searched, space=space, served=served, judged=judged)
    if judged.runs.any() or searched.traffic.rate == 0.0:
        return candidate_at(found, best)
    rate = _BUSY * float(judged.latency.capacity.ravel()[best])
    note = f"it cannot keep up with {searched.traffic.rate:g} requests/s: its latencies are those at {rate:.3g}"
    return _noted(candidate_at(again(request, found, prices, rate), best), note)


def bottleneck_of(model: ModelFacts, space: Space, baseline: Candidate, tokens: int) -> str:
    """Whether the baseline's decoding waits for memory or for arithmetic, with the figures behind it."""
    strategy = baseline.strategy
    device = next(group.accelerator for group in space.groups if group.accelerator.key == strategy.accelerator)
    batch = _working_batch(baseline)
    sequences = batch * kv_bytes_per_sequence(model, strategy.kv_format, tokens)
    read = weight_bytes(model, strategy.weight_format) * _touched(model, batch) + sequences
    memory_ms = read / (device.bandwidth_gbs * 1e9 * strategy.count) * 1e3
    arithmetic_ms = 2 * model.active_parameters * batch / (_peak(device) * strategy.count) * 1e3
    kind = "memory" if memory_ms >= arithmetic_ms else "compute"
    computed = 2 * model.active_parameters * batch / 1e9
    return (
        f"{kind}: at {counted(round(batch), 'sequence')} a decode step reads {read / 1e9:.3g} GB "
        f"({memory_ms:.3g} ms at full bandwidth) and computes {computed:.3g} GFLOP "
        f"({arithmetic_ms:.3g} ms at the peak rate)"
    )


def _working_batch(baseline: Candidate) -> float:
    """Sequences decoded together, by Little's law, within the batch limit."""
    prediction = baseline.prediction
    held = prediction.output_tokens_s.value / baseline.strategy.replicas * prediction.tpot_ms.value / 1e3
    return min(max(1.0, held), float(baseline.strategy.max_sequences))


def _touched(model: ModelFacts, batch: float) -> float:
    """Share of the weights that a step reads: with experts, those that some sequence of the batch chose."""
    work = Work.of([model])
    return float((work.touched(np.array([batch])) / (work.always + work.experts))[0])


def _peak(device: Accelerator) -> float:
    order = ("fp32", "bf16") if device.kind is AcceleratorKind.CPU else ("bf16", "fp32")
    rate = max(device.tflops.get(name, 0.0) for name in order) or max(device.tflops.values())
    return rate * 1e12
