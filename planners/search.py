"""Request and facts in, the whole search out: traffic, every candidate, and what each does under that traffic."""

from dataclasses import dataclass, field, replace

from planners.candidates import Searched
from planners.corrections import Corrections
from planners.evaluate import serve
from planners.judge import judge
from planners.prices import PriceTable
from planners.space import build
from planners.support import wanted_engines
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
    wanted, notes = wanted_engines(request.constraints.engines, host=facts.on_host)
    assumed: tuple[Assumption, ...] = tuple(Assumption(name="engine", value=note, why="named so") for note in notes)
    if traffic is None:
        traffic, more = traffic_of(request, facts.model, facts.pools, host=facts.on_host)
        assumed += more
    space = build(facts.model, facts.pools, wanted, traffic)
    if not space.groups:
        reasons = "; ".join(refused.reason for refused in space.refused[:4])
        raise AgentError(ErrorCode.UNSUPPORTED, f"no engine can serve {facts.model.name} there: {reasons}")
    served = serve(facts.model, space, traffic)
    judged = judge(request, traffic, space, served, prices=facts.prices, corrections=facts.corrections)
    return Searched(facts.model, traffic, space, served, judged, facts.corrections), assumed


def again(request: OptimizeInference, searched: Searched, prices: PriceTable, rate: float) -> Searched:
    """The same candidates under another rate of arrivals; a throughput target that set the rate moves with it."""
    traffic = replace(searched.traffic, rate=rate)
    moved = {"throughput": rate} if request.targets.throughput and not request.workload.request_rate else {}
    asked = request.model_copy(update={"targets": request.targets.model_copy(update=moved)})
    judged = judge(asked, traffic, searched.space, searched.served, prices=prices, corrections=searched.corrections)
    return replace(searched, traffic=traffic, judged=judged)
