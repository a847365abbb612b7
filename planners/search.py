"""Request and facts in, the whole search out: traffic, every candidate, and what each does under that traffic."""

from dataclasses import dataclass, field, replace
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from planners.candidates import Searched
from planners.corrections import Corrections
from planners.evaluate import serve
from planners.judge import judge
from planners.performance.silicon import available
from planners.prices import PriceTable
from planners.space import WIDE_POOLS, Servable, build
from planners.support import HOST_ENGINES, wanted_engines
from planners.workload import Traffic, traffic_of
from schemas.command import OptimizeInference
from schemas.error import AgentError, ErrorCode
from schemas.hardware import HostFacts, Pool
from schemas.model import ModelFacts
from schemas.plan import Assumption


@dataclass(frozen=True)
class Facts:
    """What a plan stands on besides the request.

    `pools` are what may be used (for the probed host: one of `accelerator_from_host`); `host` is set for the probed
    host; `corrections` are this agent's own measurements.
    """

    model: ModelFacts
    pools: tuple[Pool, ...]
    host: HostFacts | None
    prices: PriceTable
    corrections: Corrections = field(default_factory=Corrections)
    servable: Servable = None
    """Engine and weight format of what the probed host can carry out; everything where it is not said."""
    silicon: bool = field(default_factory=available)
    """Whether measured kernels of the optional database may be asked."""

    @property
    def ready(self) -> frozenset[str]:
        """The engines that the probed host can be expected to run."""
        return frozenset(HOST_ENGINES if self.servable is None else (name for name, _ in self.servable))

    @property
    def on_host(self) -> bool:
        """Whether the plan is for the machine this agent runs on."""
        return any(pool.accelerator.key == "host" for pool in self.pools)


def search(
    request: OptimizeInference, facts: Facts, traffic: Traffic | None = None
) -> tuple[Searched, tuple[Assumption, ...]]:
    """Every candidate under the request's traffic (or the given one), with what was assumed on the way.

    Raises:
        AgentError: `unsupported` where an engine's name is not known or no engine can run the model on the pools.
    """
    named = request.constraints.engines
    wanted, notes = wanted_engines(named, host=facts.on_host, ready=facts.ready)
    assumed: tuple[Assumption, ...] = tuple(Assumption(name="engine", value=note, why="named so") for note in notes)
    if traffic is None:
        traffic, more = traffic_of(request, facts.model, facts.pools, host=facts.on_host)
        assumed += more
    space = build(facts.model, facts.pools, wanted, traffic, facts.servable)
    if not space.groups:
        reasons = "; ".join(refused.reason for refused in space.refused[:4])
        raise AgentError(ErrorCode.UNSUPPORTED, f"no engine can serve {facts.model.name} there: {reasons}")
    silicon = facts.silicon and len(facts.pools) <= WIDE_POOLS
    served = serve(facts.model, space, traffic, silicon=silicon)
    judged = judge(request, traffic, space, served, prices=facts.prices, corrections=facts.corrections)
    return Searched(facts.model, traffic, space, served, judged, facts.corrections, silicon, facts.servable), assumed


def again(request: OptimizeInference, searched: Searched, prices: PriceTable, rate: float) -> Searched:
    """The same candidates under another rate of arrivals; a throughput target that set the rate moves with it."""
    asked = with_rate(request, rate)
    traffic = replace(searched.traffic, rate=rate)
    judged = judge(
        asked,
        traffic,
        searched.space,
        searched.served,
        prices=prices,
        corrections=searched.corrections,
        rents=searched.judged.rents,
    )
    return replace(searched, traffic=traffic, judged=judged)


def with_rate(request: OptimizeInference, rate: float) -> OptimizeInference:
    """The request with another rate of arrivals, at the place where it set its own."""
    if rate == 0.0:
        return request
    if request.workload.request_rate:
        return request.model_copy(update={"workload": request.workload.model_copy(update={"request_rate": rate})})
    if not request.targets.throughput:
        return request
    return request.model_copy(update={"targets": request.targets.model_copy(update={"throughput": rate})})


def within_fixed_limits(searched: Searched) -> Searched:
    """Only cells within the limits that no rate of arrivals moves: quality, budget, memory."""
    keep = np.asarray(searched.served.footprint.fits.any(axis=1))
    for limit in searched.judged.limits:
        if limit.values.shape[1] == 1:
            keep = keep & limit.met.ravel()
    return _narrowed(searched, keep)


def without_guesses(searched: Searched) -> Searched:
    """Only cells whose figures do not rest on how many guessed tokens hold, which is assumed."""
    return _narrowed(searched, np.array([way.guesses == 0 for way in searched.space.ahead])[searched.space.speculation])


def _narrowed(searched: Searched, keep: NDArray[np.bool_]) -> Searched:
    space = searched.space.only(keep)
    judged = replace(searched.judged, rents=tuple(compress(searched.judged.rents, keep.tolist())))
    replica, memory = searched.served.replica, searched.served.footprint
    served = replace(
        searched.served,
        replica=replace(
            replica,
            **{
                name: getattr(replica, name)[keep]
                for name in ("tpot_s", "step_s", "tokens_s", "prompt_s", "busy_s", "alone_s", "passes", "joins")
            },
        ),
        **{
            name: getattr(searched.served, name)[keep]
            for name in ("sustained", "sd_first", "sd_step", "sd_rate", "step_evidence", "rate_evidence")
        },
        footprint=replace(memory, **{name: getattr(memory, name)[keep] for name in memory.__dataclass_fields__}),
    )
    return replace(searched, space=space, served=served, judged=judged)
